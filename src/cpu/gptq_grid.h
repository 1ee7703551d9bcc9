// The grid that GPTQ rounds a group of weights to.
#pragma once

#include <cmath>
#include <cstdint>

namespace fewbit::cpu {

struct GptqGrid {
  float scale = 1;
  float zero = 0;

  float code(float x, float most) const {
    const float value = std::nearbyintf(x / scale) + zero;
    return value >= 0 ? std::fmin(value, most) : 0.0f;  // 0 for a NaN, too
  }
  float value(float code) const { return scale * (code - zero); }
};

struct GptqGridSettings {
  int bits;
  bool sym;
  float mse;  // exponent of the search for the best range, 0 for none

  float most() const { return static_cast<float>((1 << bits) - 1); }
};

// The grid for count values.
GptqGrid find_grid(const float* x, int64_t count, const GptqGridSettings& settings);

}  // namespace fewbit::cpu
