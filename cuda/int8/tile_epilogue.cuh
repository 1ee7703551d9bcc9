// From the int32 sums of a tile, in mma.m16n8 accumulators as floats, to stored results.
#pragma once

#include "outlier_mma.cuh"

namespace fewbit::cuda::int8 {

// The part of a tile that a warp holds: 16 rows from row on, and what a thread knows of them.
struct TilePart {
  int64_t first_row, first_column;  // of the tile
  int row;                          // of the warp within the tile
  float row_scale[2];               // of rows lane / 4 and lane / 4 + 8
};

// What a tile's columns bring to its results, in shared memory.
template <int Columns>
struct ColumnTerms {
  float scale[Columns];
  float bias[Columns];
};

template <int Threads, int Columns>
__device__ __forceinline__ void stage_columns(const Product& p, ColumnTerms<Columns>& terms,
                                              int64_t first_column, int thread) {
  for (int i = thread; i < Columns; i += Threads) {
    const int64_t column = min(first_column + i, p.columns - 1);
    terms.scale[i] = p.weight_scales[column];
    terms.bias[i] = p.bias.data ? p.bias[column] : 0.0f;
  }
}

// Turns a warp's sums into results, short of the rounding to their dtype. column_of(fragment, 0..7)
// names a fragment's columns within the tile; add_pass(pass) adds the products of that pass.
template <int Fragments, int Columns, class ColumnOf, class AddPass>
__device__ __forceinline__ void finish_tile(const Product& p, const TilePart& part,
                                            const ColumnTerms<Columns>& terms,
                                            float (&values)[Fragments][4], ColumnOf column_of,
                                            AddPass add_pass) {
  constexpr float kInverse = 1.0f / 127.0f;
  if (p.has_pass(OutlierPass::Codes)) {
#pragma unroll
    for (int fragment = 0; fragment < Fragments; ++fragment) {
#pragma unroll
      for (int i = 0; i < 4; ++i) values[fragment][i] *= part.row_scale[i / 2] * kInverse;
    }
    add_pass(OutlierPass::Codes);
  }
#pragma unroll
  for (int fragment = 0; fragment < Fragments; ++fragment) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int column = column_of(fragment, threadIdx.x % 4 * 2 + i);
      const float scale = terms.scale[column], bias = terms.bias[column];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float& value = values[fragment][2 * half + i];
        value = p.bitsandbytes ? p.dequantize(value, part.row_scale[half], scale, bias)
                               : fmaf(value, scale * kInverse, bias);
      }
    }
  }
  if (p.has_pass(OutlierPass::Weights)) add_pass(OutlierPass::Weights);
#pragma unroll
  for (int fragment = 0; fragment < Fragments; ++fragment) {
#pragma unroll
    for (int i = 0; i < 4; ++i) values[fragment][i] = p.finish(values[fragment][i], 0.0f);
  }
}

// Stores neighbours of a row from column on as T; those past the last column are dropped.
template <class T, int Count>
__device__ __forceinline__ void store_results(const Product& p, int64_t row, int64_t column,
                                              const float (&values)[Count]) {
  struct alignas(Count * sizeof(T)) Packed {
    T value[Count];
  } packed;
#pragma unroll
  for (int i = 0; i < Count; ++i) packed.value[i] = from_float<T>(values[i]);
  T* to = static_cast<T*>(p.out) + row * p.columns + column;
  if (p.columns % Count == 0) {
    if (column < p.columns) *reinterpret_cast<Packed*>(to) = packed;
  } else {
#pragma unroll
    for (int i = 0; i < Count; ++i) {
      if (column + i < p.columns) to[i] = packed.value[i];
    }
  }
}

// Calls store with a value of the type of the results.
template <class Store>
__device__ __forceinline__ void with_result_type(const Product& p, Store store) {
  switch (p.out_dtype) {
    case DType::F16:
      return store(__half{});
    case DType::BF16:
      return store(__nv_bfloat16{});
    default:
      return store(float{});
  }
}

}  // namespace fewbit::cuda::int8
