// The outlier part of a tile of results on the tensor cores, 16 outliers at a time.
//
// The tile's results sit in mma.m16n8 accumulators as
//   (acc * sx / 127 + sum of x16 * code) * (sw / 127) + sum of x16 * kept + bias
// so that codes, which are exact in 16 bits, need no dequantized copy: outliers without kept weights
// are added in the first pass, before the column scale, the others in the second. In mode 1 all of
// them come second, with rounded weights.
#pragma once

#include "../common/mma.cuh"
#include "product.cuh"

namespace fewbit::cuda::int8 {

enum class OutlierPass { Codes, Weights };

constexpr int kOutlierChunk = 16;
constexpr int kOutlierStride = 24;  // elements; 48 bytes a row keep fragment loads conflict-free

template <class T, int Rows, int Columns>
struct OutlierTile {
  T x[Rows][kOutlierStride];
  T weight[Columns][kOutlierStride];
};

// Threads 0 .. Threads - 1 fill the tile with outliers first .. first + 15; those of the other pass
// and those past count become zeros in both operands, so that an infinity meets no zero weight.
// Returns whether this thread saw an outlier of this pass. The caller synchronises.
template <int Threads, class T, int Rows, int Columns>
__device__ __forceinline__ bool stage_outliers(const Product& p, OutlierTile<T, Rows, Columns>& tile,
                                               OutlierPass pass, int first, int count,
                                               int64_t first_row, int64_t first_column, int thread) {
  static_assert(Threads % kOutlierChunk == 0);
  // A thread stays with one outlier.
  const int slot_in_chunk = thread % kOutlierChunk;
  const int index = first + slot_in_chunk;
  const int outlier = index < count ? p.outliers[index] : -1;
  const int slot = outlier >= 0 ? p.slot_of(outlier) : -1;
  const bool as_code = slot < 0 && !p.bitsandbytes;
  const bool included = outlier >= 0 && as_code == (pass == OutlierPass::Codes);
#pragma unroll 4
  for (int row = thread / kOutlierChunk; row < Rows; row += Threads / kOutlierChunk) {
    const bool present = included && first_row + row < p.rows;
    tile.x[row][slot_in_chunk] =
        from_float<T>(present ? p.x[(first_row + row) * p.x_columns + outlier] : 0.0f);
  }
#pragma unroll 4
  for (int i = thread / kOutlierChunk; i < Columns; i += Threads / kOutlierChunk) {
    const int64_t column = first_column + i;
    float value = 0;
    if (included && column < p.columns) {
      value = as_code ? static_cast<float>(p.weight[column * p.depth + outlier])
                      : p.outlier_weight(column, outlier, slot);
    }
    tile.weight[i][slot_in_chunk] = from_float<T>(value);
  }
  return included;
}

// One warp adds the tile's products to its accumulators: rows first_row + {0..15} of the tile and,
// for each of Tiles fragments, the eight columns that column_of(fragment, 0..7) names.
template <int Tiles, class T, int Rows, int Columns, class ColumnOf>
__device__ __forceinline__ void add_outliers(float (&values)[Tiles][4],
                                             const OutlierTile<T, Rows, Columns>& tile,
                                             int first_row, ColumnOf column_of) {
  const int group = threadIdx.x % 32 / 4, part = threadIdx.x % 4;
  const auto pair = [](const T* from) { return *reinterpret_cast<const uint32_t*>(from); };
  const T* upper = tile.x[first_row + group];
  const T* lower = tile.x[first_row + group + 8];
  const uint32_t a0 = pair(upper + 2 * part), a2 = pair(upper + 2 * part + 8);
  const uint32_t a1 = pair(lower + 2 * part), a3 = pair(lower + 2 * part + 8);
#pragma unroll
  for (int fragment = 0; fragment < Tiles; ++fragment) {
    const T* column = tile.weight[column_of(fragment, group)];
    Mma<T>::multiply(values[fragment], a0, a1, a2, a3, pair(column + 2 * part),
                     pair(column + 2 * part + 8));
  }
}

}  // namespace fewbit::cuda::int8
