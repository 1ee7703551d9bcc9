// relu2_mul on CUDA: see src/ops/relu2_mul.h.
#include "../src/ops/relu2_mul.h"

#include "common/cuda_op.h"
#include "elementwise/gated.cuh"

namespace fewbit::cuda {
namespace {

struct SquaredRelu {
  static __device__ float of(float gate) {
    const float positive = gate < 0 ? 0.0f : gate;  // a NaN stays
    return positive * positive;
  }
};

void run(const OpCall& call, Context& context) {
  using namespace ops::relu2_mul;
  multiply_gated<SquaredRelu>("relu2_mul", call[gate], call[up], call[out], context);
}

const CudaOp op("relu2_mul", run);

}  // namespace
}  // namespace fewbit::cuda
