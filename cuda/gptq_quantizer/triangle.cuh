// Counting the places of a triangle.
#pragma once

#include <cstdint>

namespace fewbit::cuda::gptq_quantizer {

constexpr int64_t triangle_size(int64_t rows) { return rows * (rows + 1) / 2; }

struct Place {
  int64_t row, col;  // col <= row
};

// Place number index of a lower triangle, counted row by row.
__device__ __forceinline__ Place triangle_place(int64_t index) {
  auto row = static_cast<int64_t>((sqrt(8.0 * static_cast<double>(index) + 1) - 1) / 2);
  while (triangle_size(row) > index) --row;
  while (triangle_size(row + 1) <= index) ++row;
  return {row, index - triangle_size(row)};
}

}  // namespace fewbit::cuda::gptq_quantizer
