// attention on CUDA: see src/ops/attention.h.
#include "../src/ops/attention.h"

#include "attention/problem.cuh"
#include "common/cuda_op.h"

namespace fewbit::cuda {
namespace {

void run(const OpCall& call, Context& context) {
  using namespace ops::attention;
  const attention::Problem problem =
      attention::problem_of(call[q], call[key_cache], call[value_cache], call[block_table],
                            call[sequences], call[positions], call[out], call.attrs[scale]);
  if (problem.rows == 0) return;
  if (attention::prefers_hopper(problem, context)) {
    attention::run_prefill_hopper(problem, context);
  } else if (attention::fits_tensor_cores(problem)) {
    attention::run_prefill(problem, context);
  } else {
    attention::run_generic(problem, nullptr, context);
  }
}

const CudaOp op("attention", run);

}  // namespace
}  // namespace fewbit::cuda
