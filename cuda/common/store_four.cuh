// Four neighbouring results of a row, stored at once where they may be.
#pragma once

#include "convert.cuh"

namespace fewbit::cuda {

// values go to element `at` of out and those behind it; the first is column `column` of `columns`,
// and what lies behind the last column stays.
__device__ __forceinline__ void store_four(void* out, DType dtype, int64_t at, int64_t column,
                                           int64_t columns, const float (&values)[4]) {
  const bool wide = dtype == DType::F32;
  void* to = static_cast<char*>(out) + at * (wide ? 4 : 2);
  const bool whole =
      column + 4 <= columns && reinterpret_cast<uintptr_t>(to) % (wide ? 16 : 8) == 0;
  if (!whole) {
    for (int i = 0; i < 4 && column + i < columns; ++i) store_float(out, dtype, at + i, values[i]);
  } else if (wide) {
    *static_cast<float4*>(to) = float4{values[0], values[1], values[2], values[3]};
  } else if (dtype == DType::F16) {
    const __half2 pairs[2] = {__floats2half2_rn(values[0], values[1]),
                              __floats2half2_rn(values[2], values[3])};
    *static_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(pairs);
  } else {
    const __nv_bfloat162 pairs[2] = {__floats2bfloat162_rn(values[0], values[1]),
                                     __floats2bfloat162_rn(values[2], values[3])};
    *static_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(pairs);
  }
}

}  // namespace fewbit::cuda
