// Rotary position embedding of one head.
#pragma once

#include <cstdint>

namespace fewbit::cpu {

// Element i turns with element i + dim / 2. out may be x; table holds dim / 2 cosines, then as many
// sines.
inline void rotate(const float* x, const float* table, int64_t dim, float* out) {
  const int64_t half = dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[i], b = x[i + half], cosine = table[i], sine = table[i + half];
    out[i] = a * cosine - b * sine;
    out[i + half] = b * cosine + a * sine;
  }
}

}  // namespace fewbit::cpu
