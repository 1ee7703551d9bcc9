// relu2_mul on CUDA: see src/ops/relu2_mul.h.
#include "../src/ops/relu2_mul.h"

#include "common/cuda_op.h"
#include "elementwise/map_rows.cuh"

namespace fewbit::cuda {
namespace {

template <class T>
struct Relu2Mul {
  static constexpr int kWidth = kVectorSize<T>;
  const T* gate;
  const T* up;
  T* out;
  int64_t gate_stride, up_stride, out_stride;

  template <int Count>
  __device__ void run(int64_t row, int64_t column) const {
    const auto gates = load_pack<Count>(gate + row * gate_stride + column);
    const auto ups = load_pack<Count>(up + row * up_stride + column);
    Pack<T, Count> product;
#pragma unroll
    for (int i = 0; i < Count; ++i) {
      const float g = to_float(gates.value[i]);
      const float positive = g < 0 ? 0.0f : g;  // a NaN stays
      product.value[i] = from_float<T>(positive * positive * to_float(ups.value[i]));
    }
    store_pack(out + row * out_stride + column, product);
  }
};

void run(const OpCall& call, Context& context) {
  using namespace ops::relu2_mul;
  with_float(call[gate].dtype, [&](auto zero) {
    using T = decltype(zero);
    const Relu2Mul<T> body{call[gate].as<T>(),      call[up].as<T>(),      call[out].as<T>(),
                           call[gate].row_stride(), call[up].row_stride(), call[out].row_stride()};
    const bool aligned = vector_aligned(body.gate, body.gate_stride, sizeof(T)) &&
                         vector_aligned(body.up, body.up_stride, sizeof(T)) &&
                         vector_aligned(body.out, body.out_stride, sizeof(T));
    map_rows("relu2_mul", context, call[gate].rows(), call[gate].cols(), aligned, body);
  });
}

const CudaOp op("relu2_mul", run);

}  // namespace
}  // namespace fewbit::cuda
