// What row_matmul needs of a tile beside the sums: scales, bias and outliers, which a few warps gather
// one tile ahead.
#pragma once

#include "product.cuh"

namespace fewbit::cuda::int8 {

constexpr int kRowStaged = 16;  // outliers; further ones are read where they are needed

struct RowTerms {
  int count;
  float scale[8];          // of the rows of X
  float x[kRowStaged][8];  // outliers of the rows
  float weight_scale[16], bias[16];
  float weight[kRowStaged][16];
};

// Threads that gather the terms. What belongs to the rows of X is loaded once, by the constructor.
template <int Threads>
struct RowGather {
  static constexpr int kStep = Threads / kRowStaged;  // a thread stays with one outlier
  static constexpr int kEach = 16 / kStep;

  const Product& p;
  int64_t first_column;
  int columns, thread;
  int outlier = -1, slot = -1;
  float weight[kEach] = {};
  float weight_scale = 0, bias = 0;

  __device__ __forceinline__ RowGather(const Product& p, RowTerms& terms, int64_t first_column,
                                       int columns, int thread)
      : p(p), first_column(first_column), columns(columns), thread(thread) {
    const int place = thread % kRowStaged;
    int count = 0;
    if (p.outliers) {
      // The list has a place for every column of x: it may be read before the count is known.
      const int listed = p.outliers[min(int64_t{place}, p.x_columns - 1)];
      count = *p.outlier_count;
      outlier = place < count ? listed : -1;
    }
    if (outlier >= 0) slot = p.slot_of(outlier);
    load(0);
    constexpr int kRows = 8 / kStep;
    float x[kRows] = {};
    if (outlier >= 0) {
      p.x.gather(
          [&](int i) {
            return min(int64_t{thread / kRowStaged + i * kStep}, p.rows - 1) * p.x_columns +
                   outlier;
          },
          x);
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) terms.x[place][thread / kRowStaged + i * kStep] = x[i];
    if (thread < 8) terms.scale[thread] = p.scales[min(int64_t{thread}, p.rows - 1)];
    if (thread == 0) terms.count = count;
  }

  // A tile's terms, into registers.
  __device__ __forceinline__ void load(int tile) {
    if (tile * 16 >= columns) return;
    const auto column_of = [&](int i) { return first_column + min(tile * 16 + i, columns - 1); };
    if (outlier >= 0) {
      p.gather_outlier_weights([&](int i) { return column_of(thread / kRowStaged + i * kStep); },
                               outlier, slot, false, weight);
    }
    if (thread < 16) {
      weight_scale = p.weight_scales[column_of(thread)];
      if (p.bias.data) bias = p.bias[column_of(thread)];
    }
  }

  // Where all threads find them.
  __device__ __forceinline__ void place(RowTerms& terms) const {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      terms.weight[thread % kRowStaged][thread / kRowStaged + i * kStep] = weight[i];
    }
    if (thread < 16) {
      terms.weight_scale[thread] = weight_scale;
      terms.bias[thread] = bias;
    }
  }
};

// column and row: of the result; in_tile: the column's place in its tile.
__device__ __forceinline__ void store_row_result(const Product& p, const RowTerms& terms,
                                                 int64_t column, int row, int in_tile,
                                                 int32_t sum) {
  const float value = p.dequantize(static_cast<float>(sum), terms.scale[row],
                                   terms.weight_scale[in_tile], terms.bias[in_tile]);
  float outlier_sum = 0;
  for (int i = 0; i < min(terms.count, kRowStaged); ++i) {
    outlier_sum = fmaf(terms.x[i][row], terms.weight[i][in_tile], outlier_sum);
  }
  for (int i = kRowStaged; i < terms.count; ++i) {
    const int outlier = p.outliers[i];
    outlier_sum = fmaf(p.x[row * p.x_columns + outlier],
                       p.outlier_weight(column, outlier, p.slot_of(outlier)), outlier_sum);
  }
  store_float(p.out, p.out_dtype, row * p.columns + column, p.finish(value, outlier_sum));
}

}  // namespace fewbit::cuda::int8
