// A vector of any float dtype as f32.
#pragma once

#include "../core/abi.h"
#include "kernels.h"

namespace fewbit::cpu {

// The values of view as f32: its own when it is f32, else widened into buffer, which must hold
// view.elements() values. Null when view is absent.
inline const float* widened(const TensorView& view, float* buffer) {
  if (!view) return nullptr;
  if (view.dtype == DType::F32) return view.as<float>();
  kernels().widen[static_cast<int>(view.dtype)](view.data, view.elements(), buffer);
  return buffer;
}

}  // namespace fewbit::cpu
