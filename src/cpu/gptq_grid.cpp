#include "gptq_grid.h"

#include <algorithm>
#include <limits>

namespace fewbit::cpu {

namespace {

// Shrunk ranges that the search tries, each a hundredth narrower than the one before.
constexpr int kRanges = 80;

GptqGrid grid_of(float low, float high, const GptqGridSettings& settings) {
  const float scale = (high - low) / settings.most();
  const float zero =
      settings.sym ? static_cast<float>(1 << (settings.bits - 1)) : std::nearbyintf(-low / scale);
  return {scale, std::clamp(zero, 0.0f, settings.most())};
}

double error_of(const GptqGrid& grid, const float* x, int64_t count,
                const GptqGridSettings& settings) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float error = grid.value(grid.code(x[i], settings.most())) - x[i];
    sum += std::pow(std::fabs(error), settings.mse);
  }
  return sum;
}

}  // namespace

GptqGrid find_grid(const float* x, int64_t count, const GptqGridSettings& settings) {
  float low = 0, high = 0;
  for (int64_t i = 0; i < count; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  if (settings.sym) {
    high = std::max(-low, high);
    if (low < 0) low = -high;
  }
  if (low == 0 && high == 0) {
    low = -1;
    high = 1;
  }
  GptqGrid best = grid_of(low, high, settings);
  if (!(settings.mse > 0)) return best;
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kRanges; ++i) {
    const float part = 1 - static_cast<float>(i) / 100;
    const GptqGrid grid = grid_of(part * low, part * high, settings);
    const double error = error_of(grid, x, count, settings);
    if (error < least) {
      least = error;
      best = grid;
    }
  }
  return best;
}

}  // namespace fewbit::cpu
