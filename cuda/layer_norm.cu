// layer_norm on CUDA: see src/ops/layer_norm.h.
#include "../src/ops/layer_norm.h"

#include "common/cuda_op.h"
#include "norm/row_norm.cuh"

namespace fewbit::cuda {
namespace {

void run(const OpCall& call, Context& context) {
  using namespace ops::layer_norm;
  with_float(call[x].dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto norm =
        row_norm_of<T>(call[x], call[residual], call[weight], call[bias], call.attrs[eps]);
    run_row_norm<Norm::Layer>("layer_norm", context, call[x].rows(), norm, call[out].as<T>());
  });
}

const CudaOp op("layer_norm", run);

}  // namespace
}  // namespace fewbit::cuda
