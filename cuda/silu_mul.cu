// silu_mul on CUDA: see src/ops/silu_mul.h.
#include "../src/ops/silu_mul.h"

#include "common/cuda_op.h"
#include "elementwise/gated.cuh"

namespace fewbit::cuda {
namespace {

struct Silu {
  // Stays right where the exponential overflows: a division by infinity gives 0.
  static __device__ float of(float gate) { return __fdividef(gate, 1.0f + __expf(-gate)); }
};

void run(const OpCall& call, Context& context) {
  using namespace ops::silu_mul;
  multiply_gated<Silu>("silu_mul", call[gate], call[up], call[out], context);
}

const CudaOp op("silu_mul", run);

}  // namespace
}  // namespace fewbit::cuda
