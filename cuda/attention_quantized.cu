// attention_quantized on CUDA: see src/ops/attention_quantized.h.
#include "../src/ops/attention_quantized.h"

#include "common/cuda_op.h"
#include "kv/problem.cuh"

namespace fewbit::cuda {
namespace {

kv::Problem problem_of(const OpCall& call) {
  using namespace ops::attention_quantized;
  kv::Problem problem{};
  static_cast<attention::Problem&>(problem) =
      attention::problem_of(call[q], call[key_cache], call[value_cache], call[block_table],
                            call[sequences], call[positions], call[out], call.attrs[scale]);
  // The last extent of these caches is bytes.
  problem.dim = static_cast<int32_t>(call.attrs[head_dim]);
  problem.query_heads = static_cast<int32_t>(call[q].cols() / problem.dim);
  problem.group = problem.query_heads / problem.kv_heads;
  problem.key_grid = call[key_grid].as<float>();
  problem.value_grid = call[value_grid].as<float>();
  problem.key_scales = call[key_scales].as<__half2>();
  problem.value_scales = call[value_scales].as<__half2>();
  problem.query_grid = call[query_grid].as<float>();
  problem.largest_query =
      static_cast<float>(ops::kv::largest_code(static_cast<int>(call.attrs[query_bits])));
  problem.row_bytes = static_cast<int32_t>(call[key_cache].shape[3]);
  return problem;
}

bool takes_decode(const OpCall& call, const kv::Problem& problem) {
  return call.attrs[ops::attention_quantized::decode] != 0 && kv::fits_decode(problem);
}

size_t workspace(const OpCall& call, Context& context) {
  const kv::Problem problem = problem_of(call);
  return takes_decode(call, problem) ? kv::decode_workspace(problem, context) : 0;
}

void run(const OpCall& call, Context& context) {
  const kv::Problem problem = problem_of(call);
  const int width = static_cast<int>(call.attrs[ops::attention_quantized::bits]);
  if (problem.rows == 0) return;
  if (takes_decode(call, problem)) {
    kv::with_width(width,
                   [&](auto bits) { kv::run_decode<bits()>(problem, context, call.workspace); });
  } else if (kv::fits_prefill(problem)) {
    kv::run_prefill(problem, width, context);
  } else {
    kv::run_generic(problem, width, context);
  }
}

const CudaOp op("attention_quantized", run, workspace);

}  // namespace
}  // namespace fewbit::cuda
