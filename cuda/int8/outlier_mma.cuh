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

constexpr int kOutlierChunk = 16;

// Rows of 16 values of the dtype of x, as bits. Every second group of four rows swaps its halves,
// which keeps fragment loads free of bank conflicts.
template <int Rows>
struct OutlierMatrix {
  uint16_t value[Rows * kOutlierChunk];

  static __device__ __forceinline__ int index(int row, int outlier) {
    return row * kOutlierChunk + ((outlier ^ (row >> 2 & 1) << 3) & 15);
  }
  __device__ __forceinline__ void store(int row, int outlier, float number, bool bfloat16) {
    value[index(row, outlier)] = bfloat16
                                     ? __bfloat16_as_ushort(from_float<__nv_bfloat16>(number))
                                     : __half_as_ushort(from_float<__half>(number));
  }
  // Values outlier and outlier + 1; even outliers.
  __device__ __forceinline__ uint32_t pair(int row, int outlier) const {
    return *reinterpret_cast<const uint32_t*>(&value[index(row, outlier)]);
  }
};

template <int Rows, int Columns>
struct alignas(16) OutlierTile {
  OutlierMatrix<Rows> x;
  OutlierMatrix<Columns> weight;
};

// Fills outliers first .. first + Places - 1 of the tile; a thread stays with one of them.
template <int Threads, int Places, int Rows, int Columns>
__device__ __forceinline__ void stage_places(const Product& p, OutlierTile<Rows, Columns>& tile,
                                             OutlierPass pass, int first, int count,
                                             int64_t first_row, int64_t first_column, int thread) {
  constexpr int kStep = Threads / Places;
  constexpr int kBatch = 12;  // gathers of a thread under way at once
  const int place = thread % Places, start = thread / Places;
  const int outlier = first + place < count ? p.outliers[first + place] : -1;
  const int slot = outlier >= 0 ? p.slot_of(outlier) : -1;
  const bool as_code = slot < 0 && !p.bitsandbytes;
  const bool included = outlier >= 0 && as_code == (pass == OutlierPass::Codes);
  const bool bfloat16 = p.x.dtype == DType::BF16;
  float values[kBatch];
  for (int batch = start; batch < Rows; batch += kStep * kBatch) {
    if (included) {
      p.x.gather(
          [&](int i) {
            return min(first_row + batch + i * kStep, p.rows - 1) * p.x_columns + outlier;
          },
          values);
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int row = batch + i * kStep;
      if (row < Rows) tile.x.store(row, place, included ? values[i] : 0.0f, bfloat16);
    }
  }
  for (int batch = start; batch < Columns; batch += kStep * kBatch) {
    if (included) {
      p.gather_outlier_weights(
          [&](int i) { return min(first_column + batch + i * kStep, p.columns - 1); }, outlier,
          slot, as_code, values);
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int column = batch + i * kStep;
      if (column < Columns) tile.weight.store(column, place, included ? values[i] : 0.0f, bfloat16);
    }
  }
}

// Threads 0 .. Threads - 1 fill the tile with outliers first .. first + 15. Those of the other pass
// and those past count become zeros in both operands, so that an infinity meets no zero weight.
// Rows and columns past the end repeat the last ones.
template <int Threads, int Rows, int Columns>
__device__ __forceinline__ void stage_outliers(const Product& p, OutlierTile<Rows, Columns>& tile,
                                               OutlierPass pass, int first, int count,
                                               int64_t first_row, int64_t first_column,
                                               int thread) {
  if (count - first > kOutlierChunk / 2) {
    return stage_places<Threads, kOutlierChunk>(p, tile, pass, first, count, first_row,
                                                first_column, thread);
  }
  // The usual few: all threads share the first half of the places, and the second stays empty.
  constexpr int kHalf = kOutlierChunk / 2;
  stage_places<Threads, kHalf>(p, tile, pass, first, count, first_row, first_column, thread);
  for (int i = thread; i < Rows * kHalf; i += Threads) {
    tile.x.store(i / kHalf, kHalf + i % kHalf, 0.0f, false);
  }
  for (int i = thread; i < Columns * kHalf; i += Threads) {
    tile.weight.store(i / kHalf, kHalf + i % kHalf, 0.0f, false);
  }
}

// One warp adds the tile's products to its accumulators: tile rows tile_row + {0..15} and, for each
// fragment, the eight tile columns that column_of(fragment, 0..7) names.
template <class T, int Fragments, int Rows, int Columns, class ColumnOf>
__device__ __forceinline__ void add_outliers_as(float (&values)[Fragments][4],
                                                const OutlierTile<Rows, Columns>& tile,
                                                int tile_row, ColumnOf column_of) {
  const int group = threadIdx.x % 32 / 4, low = threadIdx.x % 4 * 2, high = low + 8;
  const int upper = tile_row + group, lower = upper + 8;
  const uint32_t a0 = tile.x.pair(upper, low), a2 = tile.x.pair(upper, high);
  const uint32_t a1 = tile.x.pair(lower, low), a3 = tile.x.pair(lower, high);
#pragma unroll
  for (int fragment = 0; fragment < Fragments; ++fragment) {
    const int column = column_of(fragment, group);
    Mma<T>::multiply(values[fragment], a0, a1, a2, a3, tile.weight.pair(column, low),
                     tile.weight.pair(column, high));
  }
}

template <int Fragments, int Rows, int Columns, class ColumnOf>
__device__ __forceinline__ void add_outliers(const Product& p, float (&values)[Fragments][4],
                                             const OutlierTile<Rows, Columns>& tile, int tile_row,
                                             ColumnOf column_of) {
  if (p.x.dtype == DType::BF16) {
    add_outliers_as<__nv_bfloat16>(values, tile, tile_row, column_of);
  } else {
    add_outliers_as<__half>(values, tile, tile_row, column_of);
  }
}

}  // namespace fewbit::cuda::int8
