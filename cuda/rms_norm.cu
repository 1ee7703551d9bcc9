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
    const RowNorm<T> norm{.x = call[x].as<T>(),
                          .residual = call[residual].as<T>(),
                          .weight = call[weight].data,
                          .bias = nullptr,
                          .weight_dtype = call[weight].dtype,
                          .columns = call[x].cols(),
                          .eps = static_cast<float>(call.attrs[eps])};
    run_row_norm<Norm::Rms>("rms_norm", context, call[x].rows(), norm, call[out].as<T>());
  });
}

const CudaOp op("rms_norm", run);

}  // namespace
}  // namespace fewbit::cuda
