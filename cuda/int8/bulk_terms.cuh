// What bulk_matmul needs of a tile beside the sums: scales, bias and outliers.
#pragma once

#include "../common/reduce.cuh"
#include "product.cuh"

namespace fewbit::cuda::int8 {

constexpr int kBulkStaged = 16;  // outliers; further ones are read where they are needed

// Columns of the result in a tile, which are rows of W, and rows of X.
template <int Columns, int Rows>
struct BulkTerms {
  int count;
  float scale[Rows];           // of the rows of X
  float x[kBulkStaged][Rows];  // outliers of the rows
  float weight_scale[Columns], bias[Columns];
  float weight[2][kBulkStaged]
              [Columns];  // of the tile that is multiplied and the one that is finished
};

// The outliers that a call begins with, as one warp knows them: lane i the i-th.
struct BulkOutliers {
  int column = -1;
  int count = 0;

  __device__ __forceinline__ BulkOutliers(const Product& p, int lane) {
    if (!p.outliers) return;
    // The list has a place for every column of x: it may be read before the count is known.
    const int listed = p.outliers[min(int64_t{lane}, p.x_columns - 1)];
    count = *p.outlier_count;
    if (lane < min(count, kBulkStaged)) column = listed;
  }
};

// What belongs to the rows of X: a warp loads it, and puts it where all threads find it.
template <int Rows>
struct OutlierInputs {
  static constexpr int kStep = 32 / kBulkStaged;

  float x[Rows / kStep] = {};
  float scale = 0;

  __device__ __forceinline__ OutlierInputs(const Product& p, const BulkOutliers& outliers,
                                           int lane) {
    const int column = __shfl_sync(kFullWarp, outliers.column, lane % kBulkStaged);
    if (column >= 0) {
      p.x.gather(
          [&](int i) {
            return min(int64_t{lane / kBulkStaged + i * kStep}, p.rows - 1) * p.x_columns + column;
          },
          x);
    }
    if (lane < Rows) scale = p.scales[min(int64_t{lane}, p.rows - 1)];
  }

  template <int Columns>
  __device__ __forceinline__ void place(BulkTerms<Columns, Rows>& terms,
                                        const BulkOutliers& outliers, int lane) const {
#pragma unroll
    for (int i = 0; i < Rows / kStep; ++i) {
      terms.x[lane % kBulkStaged][lane / kBulkStaged + i * kStep] = x[i];
    }
    if (lane < Rows) terms.scale[lane] = scale;
    if (lane == 0) terms.count = outliers.count;
  }
};

// A thread's results in one column of a tile: rows first_row, first_row + Step, ... of X.
template <int Step, int Each, int Columns, int Rows>
__device__ __forceinline__ void store_results(const Product& p,
                                              const BulkTerms<Columns, Rows>& terms, int tile,
                                              int64_t column, int in_tile, int first_row,
                                              const int32_t (&sums)[Each]) {
  float outlier_sums[Each] = {};
#pragma unroll 1
  for (int i = 0; i < min(terms.count, kBulkStaged); ++i) {
    const float weight = terms.weight[tile & 1][i][in_tile];
#pragma unroll
    for (int j = 0; j < Each; ++j) {
      outlier_sums[j] = fmaf(terms.x[i][first_row + j * Step], weight, outlier_sums[j]);
    }
  }
#pragma unroll
  for (int j = 0; j < Each; ++j) {
    const int row = first_row + j * Step;
    if (row >= p.rows) break;
    outlier_sums[j] = p.with_outliers(outlier_sums[j], kBulkStaged, terms.count, row, column);
    const float value = p.dequantize(static_cast<float>(sums[j]), terms.scale[row],
                                     terms.weight_scale[in_tile], terms.bias[in_tile]);
    store_float(p.out, p.out_dtype, row * p.columns + column, p.finish(value, outlier_sums[j]));
  }
}

}  // namespace fewbit::cuda::int8
