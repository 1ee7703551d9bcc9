// decode_attention on CUDA: see src/ops/decode_attention.h.
#include "../src/ops/decode_attention.h"

#include "attention/problem.cuh"
#include "common/cuda_op.h"

namespace fewbit::cuda {
namespace {

attention::Problem problem_of(const OpCall& call) {
  using namespace ops::decode_attention;
  return attention::problem_of(call[q], call[key_cache], call[value_cache], call[block_table],
                               call[sequences], call[positions], call[out], call.attrs[scale]);
}

attention::Append append_of(const OpCall& call) {
  using namespace ops::decode_attention;
  const TensorView& cache = call[key_cache];
  return {.k = call[k].data,
          .v = call[v].data,
          .rope = call[rope].as<float>(),
          .slots = call[slots].as<int32_t>(),
          .k_stride = call[k].row_stride(),
          .v_stride = call[v].row_stride(),
          .cache_slots = cache.shape[0] * cache.shape[2],
          .rope_rows = static_cast<int32_t>(call[rope] ? call[rope].shape[0] : 0)};
}

size_t workspace(const OpCall& call, Context& context) {
  return attention::decode_workspace(problem_of(call), context);
}

void run(const OpCall& call, Context& context) {
  const attention::Problem problem = problem_of(call);
  const attention::Append append = append_of(call);
  if (problem.rows == 0) return;
  if (attention::fits_tensor_cores(problem, append)) {
    attention::run_decode(problem, append, context, call.workspace);
  } else {
    attention::run_generic(problem, &append, context);
  }
}

const CudaOp op("decode_attention", run, workspace);

}  // namespace
}  // namespace fewbit::cuda
