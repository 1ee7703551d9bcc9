// Activations of gated units, in fp32 to the last digit where codes are made of the product.
#pragma once

namespace fewbit::cuda {

// The attribute `activation` of the ops that quantize a gated unit.
enum class Gate : int { None = 0, Silu = 1, Relu2 = 2 };

__device__ __forceinline__ float gate_value(float value, Gate kind) {
  if (kind == Gate::Silu) return value / (1.0f + expf(-value));
  if (kind == Gate::Relu2) {
    const float positive = value < 0 ? 0.0f : value;  // a NaN stays
    return __fmul_rn(positive, positive);
  }
  return value;
}

}  // namespace fewbit::cuda
