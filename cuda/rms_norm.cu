// rms_norm on CUDA: see src/ops/rms_norm.h.
#include "../src/ops/rms_norm.h"

#include "common/cuda_op.h"
#include "norm/row_norm.cuh"

namespace fewbit::cuda {
namespace {

void run(const OpCall& call, Context& context) {
  using namespace ops::rms_norm;
  with_float(call[x].dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto norm =
        row_norm_of<T>(call[x], call[residual], call[weight], TensorView{}, call.attrs[eps]);
    run_row_norm<Norm::Rms>("rms_norm", context, call[x].rows(), norm, call[out].as<T>());
  });
}

const CudaOp op("rms_norm", run);

}  // namespace
}  // namespace fewbit::cuda
