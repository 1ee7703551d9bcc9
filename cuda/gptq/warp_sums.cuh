// Sums that the warps of a block have of the same outputs, each over its share of K: they meet in shared
// memory, in fixed order.
#pragma once

#include "../common/convert.cuh"
#include "linear_gptq.h"

namespace fewbit::cuda::gptq {

// Columns outputs, 16 to a tile, of Rows rows of x, 8 to a tile, as Mma has them.
template <int Warps, int Columns, int Rows>
struct WarpSums {
  static constexpr int kOutputs = Columns * Rows;
  static constexpr int kBytes = Warps * kOutputs * 4;

  // Leaves a thread's sums in `to`, kBytes of shared memory.
  __device__ __forceinline__ static void put(const float (&sums)[Columns / 16][Rows / 8][4],
                                             float* to) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int group = lane / 4, part = lane % 4;
#pragma unroll
    for (int row_tile = 0; row_tile < Columns / 16; ++row_tile) {
#pragma unroll
      for (int tile = 0; tile < Rows / 8; ++tile) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          to[warp * kOutputs + (tile * 8 + part * 2 + i % 2) * Columns + row_tile * 16 + i / 2 * 8 +
             group] = sums[row_tile][tile][i];
        }
      }
    }
  }

  // Once all have: adds up and stores the outputs that there are.
  __device__ __forceinline__ static void store(const LinearGptq& p, const float* from,
                                               int64_t first_column, int64_t first_row) {
    const int count = Columns * static_cast<int>(min(int64_t{Rows}, p.rows - first_row));
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < count; i += Warps * 32) {
      const int64_t column = first_column + i % Columns, row = first_row + i / Columns;
      if (column >= p.weight.rows) continue;
      float sum = from[i];
#pragma unroll
      for (int other = 1; other < Warps; ++other) sum += from[other * kOutputs + i];
      if (p.bias) sum += load_float(p.bias, p.bias_dtype, column);
      store_float(p.out, p.out_dtype, row * p.out_stride + column, activate(sum, p.activation));
    }
  }
};

}  // namespace fewbit::cuda::gptq
