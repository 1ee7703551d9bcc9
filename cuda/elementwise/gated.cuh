// Gated activations: out = f(gate) * up, element by element, rows spaced apart at will.
#pragma once

#include "../../src/core/abi.h"
#include "map_rows.cuh"

namespace fewbit::cuda {

// Activate::of(float gate) is f.
template <class T, class Activate>
struct GatedProduct {
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
      const float activated = Activate::of(to_float(gates.value[i]));
      product.value[i] = from_float<T>(activated * to_float(ups.value[i]));
    }
    store_pack(out + row * out_stride + column, product);
  }
};

template <class Activate>
void multiply_gated(const char* name, const TensorView& gate, const TensorView& up,
                    const TensorView& out, Context& context) {
  with_float(gate.dtype, [&](auto zero) {
    using T = decltype(zero);
    const GatedProduct<T, Activate> body{gate.as<T>(),      up.as<T>(),      out.as<T>(),
                                         gate.row_stride(), up.row_stride(), out.row_stride()};
    const bool aligned = vector_aligned(body.gate, body.gate_stride, sizeof(T)) &&
                         vector_aligned(body.up, body.up_stride, sizeof(T)) &&
                         vector_aligned(body.out, body.out_stride, sizeof(T));
    map_rows(name, context, gate.rows(), gate.cols(), aligned, body);
  });
}

}  // namespace fewbit::cuda
