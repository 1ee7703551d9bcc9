// attention_quantized on CUDA: see src/ops/attention_quantized.h.
#include "../src/ops/attention_quantized.h"

#include "common/cuda_op.h"
#include "kv/problem.cuh"

namespace fewbit::cuda {
namespace {

void run(const OpCall& call, Context& context) {
  const kv::Problem problem = kv::problem_of(call);
  const int width = static_cast<int>(call.attrs[ops::attention_quantized::bits]);
  if (problem.rows == 0) return;
  kv::run_attention(problem, width, context);
}

const CudaOp op("attention_quantized", run);

}  // namespace
}  // namespace fewbit::cuda
