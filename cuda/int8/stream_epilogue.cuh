// The epilogue of linear_int8 on stream_matmul: extra warps gather the first outliers' activations
// and weights while the others read the weights.
#pragma once

#include "product.cuh"

namespace fewbit::cuda::int8 {

template <int RowTiles, int BatchTiles>
struct StreamEpilogue {
  static constexpr int kWarps = RowTiles;
  static constexpr int kColumns = RowTiles * 16;
  static constexpr int kRows = BatchTiles * 8;
  static constexpr int kStaged = 16;  // outliers; further ones are read where they are needed

  struct Shared {
    int count;
    float scale[kRows];
    float weight_scale[kColumns];
    float bias[kColumns];
    float x[kStaged][kRows];
    float weight[kStaged][kColumns];
  };

  Product p;

  __device__ __forceinline__ void stage(Shared& shared, int64_t first_column, int64_t first_row,
                                        int thread) const {
    constexpr int kThreads = kWarps * 32;
    constexpr int kStep = kThreads / kStaged;  // a thread stays with one outlier
    const int count = p.outliers_here();
    const int place = thread % kStaged, start = thread / kStaged;
    if (thread == 0) shared.count = count;
    if (place < count) {
      const int outlier = p.outliers[place];
      float x[kRows / kStep], weight[kColumns / kStep];
      p.x.gather(
          [&](int i) {
            return min(first_row + start + i * kStep, p.rows - 1) * p.x_columns + outlier;
          },
          x);
      p.gather_outlier_weights(
          [&](int i) { return min(first_column + start + i * kStep, p.columns - 1); }, outlier,
          p.slot_of(outlier), false, weight);
#pragma unroll
      for (int i = 0; i < kRows / kStep; ++i) shared.x[place][start + i * kStep] = x[i];
#pragma unroll
      for (int i = 0; i < kColumns / kStep; ++i) {
        shared.weight[place][start + i * kStep] = weight[i];
      }
    }
    for (int i = thread; i < kRows; i += kThreads) {
      shared.scale[i] = p.scales[min(first_row + i, p.rows - 1)];
    }
    for (int i = thread; i < kColumns; i += kThreads) {
      const int64_t column = min(first_column + i, p.columns - 1);
      shared.weight_scale[i] = p.weight_scales[column];
      shared.bias[i] = p.bias.data ? p.bias[column] : 0.0f;
    }
  }

  __device__ __forceinline__ void store(const Shared& shared, int64_t column, int64_t row,
                                        int block_column, int block_row, int32_t sum) const {
    if (column >= p.columns) return;
    const float value = p.dequantize(static_cast<float>(sum), shared.scale[block_row],
                                     shared.weight_scale[block_column], shared.bias[block_column]);
    const int staged = min(shared.count, kStaged);
    float outlier_sum = 0;
    for (int i = 0; i < staged; ++i) {
      outlier_sum = fmaf(shared.x[i][block_row], shared.weight[i][block_column], outlier_sum);
    }
    outlier_sum = p.with_outliers(outlier_sum, staged, shared.count, row, column);
    store_float(p.out, p.out_dtype, row * p.columns + column, p.finish(value, outlier_sum));
  }
};

}  // namespace fewbit::cuda::int8
