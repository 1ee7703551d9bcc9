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

// Rows of 16 values of the dtype of x, as bits. Every second group of four rows swaps its halves,
// which keeps fragment loads free of bank conflicts.
template <int Rows>
struct OutlierMatrix {
  uint16_t value[Rows * kOutlierChunk];

  static __device__ __forceinline__ int index(int row, int outlier) {
    return row * kOutlierChunk + ((outlier ^ (row >> 2 & 1) << 3) & 15);
  }
  __device__ __forceinline__ void store(int row, int outlier, uint16_t bits) {
    value[index(row, outlier)] = bits;
  }
  // Values outlier and outlier + 1; even outliers.
  __device__ __forceinline__ uint32_t pair(int row, int outlier) const {
    return *reinterpret_cast<const uint32_t*>(&value[index(row, outlier)]);
  }
};

__device__ __forceinline__ uint16_t half_bits(float number, bool bfloat16) {
  return bfloat16 ? __bfloat16_as_ushort(from_float<__nv_bfloat16>(number))
                  : __half_as_ushort(from_float<__half>(number));
}

template <int Rows, int Columns>
struct alignas(16) OutlierTile {
  OutlierMatrix<Rows> x;
  OutlierMatrix<Columns> weight;
};

// Threads 0 .. Threads - 1 fill the tile with outliers first .. first + 15. Those of the other pass
// and those past count become zeros in both operands, so that an infinity meets no zero weight.
// Rows and columns past the end repeat the last ones.
template <int Threads, int Rows, int Columns>
__device__ __forceinline__ void stage_outliers(const Product& p, OutlierTile<Rows, Columns>& tile,
                                               OutlierPass pass, int first, int count,
                                               int64_t first_row, int64_t first_column,
                                               int thread) {
  constexpr int kBatch = 12;  // gathers of a thread under way at once
  constexpr int kHalf = kOutlierChunk / 2;
  // A thread stays with one outlier. With the usual few, the second half of the places has no
  // threads of its own.
  const bool few = count - first <= kHalf;
  const int places = few ? kHalf : kOutlierChunk;
  const int place = thread % places, start = thread / places, step = Threads / places;
  const int outlier = first + place < count ? p.outliers[first + place] : -1;
  const int slot = outlier >= 0 ? p.slot_of(outlier) : -1;
  const bool as_code = slot < 0 && !p.bitsandbytes;
  const bool included = outlier >= 0 && as_code == (pass == OutlierPass::Codes);
  const auto* x = static_cast<const uint16_t*>(p.x.data);
  if (included && slot < 0) {  // under way while x is read
    for (int column = start; column < Columns; column += step) {
      asm volatile("prefetch.global.L2 [%0];" ::"l"(
          p.weight + min(first_column + column, p.columns - 1) * p.depth + outlier));
    }
  }
#pragma unroll 1
  for (int batch = start; batch < Rows; batch += step * kBatch) {
    uint16_t bits[kBatch] = {};
    if (included) {
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        bits[i] = x[min(first_row + batch + i * step, p.rows - 1) * p.x_columns + outlier];
      }
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int row = batch + i * step;
      if (row >= Rows) break;
      tile.x.store(row, place, bits[i]);
      if (few) tile.x.store(row, place + kHalf, 0);
    }
  }
  const bool bfloat16 = p.x.dtype == DType::BF16;
#pragma unroll 1
  for (int batch = start; batch < Columns; batch += step * kBatch) {
    float values[kBatch] = {};
    if (included) {
      p.gather_outlier_weights(
          [&](int i) { return min(first_column + batch + i * step, p.columns - 1); }, outlier, slot,
          as_code, values);
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int column = batch + i * step;
      if (column >= Columns) break;
      tile.weight.store(column, place, half_bits(values[i], bfloat16));
      if (few) tile.weight.store(column, place + kHalf, 0);
    }
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
