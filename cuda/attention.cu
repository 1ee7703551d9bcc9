// attention on CUDA: see src/ops/attention.h.
#include "../src/ops/attention.h"

#include <cmath>

#include "attention/problem.cuh"
#include "common/cuda_op.h"

namespace fewbit::cuda {
namespace {

attention::Problem problem_of(const OpCall& call) {
  using namespace ops::attention;
  const TensorView& cache = call[key_cache];
  const int32_t dim = static_cast<int32_t>(cache.shape[3]);
  const int32_t kv_heads = static_cast<int32_t>(cache.shape[1]);
  const int32_t query_heads = static_cast<int32_t>(call[q].cols() / dim);
  return {.dtype = call[q].dtype,
          .q = call[q].data,
          .key_cache = cache.data,
          .value_cache = call[value_cache].data,
          .out = call[out].data,
          .block_table = call[block_table].as<int32_t>(),
          .sequences = call[sequences].as<int32_t>(),
          .positions = call[positions].as<int32_t>(),
          .q_stride = call[q].row_stride(),
          .rows = static_cast<int32_t>(call[q].rows()),
          .query_heads = query_heads,
          .kv_heads = kv_heads,
          .group = query_heads / kv_heads,
          .dim = dim,
          .pages = static_cast<int32_t>(cache.shape[0]),
          .page_size = static_cast<int32_t>(cache.shape[2]),
          .table_rows = static_cast<int32_t>(call[block_table].shape[0]),
          .table_columns = static_cast<int32_t>(call[block_table].shape[1]),
          .scale_log2 = static_cast<float>(call.attrs[scale] * 1.4426950408889634)};
}

bool is_decode(const OpCall& call) { return call.attrs[ops::attention::decode] != 0; }

size_t workspace(const OpCall& call, Context& context) {
  const attention::Problem problem = problem_of(call);
  return is_decode(call) ? attention::decode_workspace(problem, context) : 0;
}

void run(const OpCall& call, Context& context) {
  const attention::Problem problem = problem_of(call);
  if (problem.rows == 0) return;
  if (!attention::fits_tensor_cores(problem)) {
    attention::run_generic(problem, context);
  } else if (is_decode(call)) {
    attention::run_decode(problem, context, call.workspace);
  } else {
    attention::run_prefill(problem, context);
  }
}

const CudaOp op("attention", run, workspace);

}  // namespace
}  // namespace fewbit::cuda
