// Activations that matrix products apply to their results.
#pragma once

namespace fewbit::cuda {

// The attribute `activation` of the linear ops.
enum class Activation : int { None = 0, Relu = 1 };

// A NaN stays one.
__device__ __forceinline__ float activate(float value, Activation activation) {
  return activation == Activation::Relu && value < 0 ? 0.0f : value;
}

}  // namespace fewbit::cuda
