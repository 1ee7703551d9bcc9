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

// The error of a grid, or as much of it as is needed to see that it is not below `least`.
double error_of(const GptqGrid& grid, const float* x, int64_t count,
                const GptqGridSettings& settings, double least) {
  double sum = 0;
  for (int64_t i = 0; i < count && sum < least; ++i) {
    const float error = grid.value(grid.code(x[i], settings.most())) - x[i];
    sum += std::pow(std::fabs(error), settings.mse);
  }
  return sum;
}

// The same grid with the other integer beside the exact zero point.
GptqGrid neighbour_of(const GptqGrid& grid, float low, const GptqGridSettings& settings) {
  const float exact = -low / grid.scale;
  const float below = std::clamp(std::floor(exact), 0.0f, settings.most());
  const float above = std::clamp(std::ceil(exact), 0.0f, settings.most());
  return {grid.scale, grid.zero == below ? above : below};
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
  const auto consider = [&](const GptqGrid& grid) {
    const double error = error_of(grid, x, count, settings, least);
    if (!(error < least)) return;
    least = error;
    best = grid;
  };
  for (int i = 0; i < kRanges; ++i) {
    const float part = 1 - static_cast<float>(i) / 100;
    const GptqGrid grid = grid_of(part * low, part * high, settings);
    consider(grid);
    if (settings.sym) consider({-grid.scale, grid.zero});
    if (settings.bits == 2 && !settings.sym) consider(neighbour_of(grid, part * low, settings));
  }
  return best;
}

}  // namespace fewbit::cpu
