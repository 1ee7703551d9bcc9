// Rotary position embedding (arXiv 2104.09864): element i of a head turns with element i + dim / 2.
#pragma once

#include "../elementwise/map_rows.cuh"

namespace fewbit::cuda {

// Turns Count elements of the first half of a head and their partners in the second, in fp32.
// angles holds their cosines, and their sines half elements further on.
template <class T, int Count>
__device__ __forceinline__ void rotate(Pack<T, Count>& first, Pack<T, Count>& second,
                                       const float* angles, int half) {
  const auto cosine = load_pack<Count>(angles);
  const auto sine = load_pack<Count>(angles + half);
#pragma unroll
  for (int i = 0; i < Count; ++i) {
    const float a = to_float(first.value[i]), b = to_float(second.value[i]);
    first.value[i] = from_float<T>(a * cosine.value[i] - b * sine.value[i]);
    second.value[i] = from_float<T>(b * cosine.value[i] + a * sine.value[i]);
  }
}

}  // namespace fewbit::cuda
