// Bringing columns into the order they are quantized in, and back: single elements scattered over
// memory cost many times what reading them from a row at hand does.
#pragma once

#include <algorithm>

#include "../common/launch.h"

namespace fewbit::cuda::gptq_quantizer {

struct Permutation {
  const int32_t* order;  // [cols] column at each position
  int32_t* positions;    // [cols] position of each column, filled by gather_positions; -1 for none
  const uint8_t* dead;   // [cols] columns whose weights become 0
  int64_t rows, cols;

  dim3 blocks(int threads) const {
    return dim3(static_cast<unsigned>((cols + threads - 1) / threads),
                static_cast<unsigned>(std::min<int64_t>(rows, 65535)));
  }
};

namespace permute_kernels {

constexpr int kThreads = 256;

// A column outside of w counts as 0.
__global__ __launch_bounds__(kThreads) void gather_positions(const Permutation p, const float* w,
                                                             float* values) {
  const int64_t position = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (position >= p.cols) return;
  const int64_t column = p.order[position];
  const bool inside = column >= 0 && column < p.cols;
  if (inside && blockIdx.y == 0) p.positions[column] = static_cast<int32_t>(position);
  const bool kept = inside && !p.dead[column];
  for (int64_t row = blockIdx.y; row < p.rows; row += gridDim.y) {
    values[row * p.cols + position] = kept ? w[row * p.cols + column] : 0.0f;
  }
}

__global__ __launch_bounds__(kThreads) void return_columns(const Permutation p, const float* values,
                                                           const uint8_t* ordered_codes, float* w,
                                                           uint8_t* codes) {
  const int64_t column = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (column >= p.cols) return;
  const int64_t position = p.positions[column];
  if (position < 0) return;
  for (int64_t row = blockIdx.y; row < p.rows; row += gridDim.y) {
    w[row * p.cols + column] = values[row * p.cols + position];
    codes[row * p.cols + column] = ordered_codes[row * p.cols + position];
  }
}

}  // namespace permute_kernels

// values = w in the order of positions, with zeros for dead columns.
inline void gather_positions(const Permutation& permutation, const float* w, float* values,
                             Context& context) {
  using permute_kernels::kThreads;
  check(cudaMemsetAsync(permutation.positions, 0xff,
                        static_cast<size_t>(permutation.cols) * sizeof(int32_t), context.stream),
        "gptq_quantize: order");
  launch({.name = "gptq_quantize: order",
          .grid = permutation.blocks(kThreads),
          .block = dim3(kThreads)},
         context, permute_kernels::gather_positions, permutation, w, values);
}

// w and codes by column, from the order of positions.
inline void return_columns(const Permutation& permutation, const float* values,
                           const uint8_t* ordered_codes, float* w, uint8_t* codes,
                           Context& context) {
  using permute_kernels::kThreads;
  launch({.name = "gptq_quantize: order",
          .grid = permutation.blocks(kThreads),
          .block = dim3(kThreads)},
         context, permute_kernels::return_columns, permutation, values, ordered_codes, w, codes);
}

}  // namespace fewbit::cuda::gptq_quantizer
