// From the int32 sums of a tile, in mma.m16n8 accumulators as floats, to stored results.
#pragma once

#include "outlier_mma.cuh"

namespace fewbit::cuda::int8 {

// Every warp of the block (Threads of them) calls this with the accumulators of 16 rows from
// tile_row on; column_of(fragment, index 0..7) names a fragment's columns within the tile.
// values: in, the sums; out, the results before the last rounding.
template <int Threads, int Fragments, class T, int Rows, int Columns, class ColumnOf, class Barrier>
__device__ __forceinline__ void finish_tile(const Product& p, OutlierTile<T, Rows, Columns>& tile,
                                            float (&values)[Fragments][4],
                                            const float (&row_scale)[2], int64_t first_row,
                                            int64_t first_column, int tile_row, int thread,
                                            ColumnOf column_of, Barrier barrier) {
  constexpr float kInverse = 1.0f / 127.0f;
  const int part = threadIdx.x % 4;
  const int count = p.outliers_here();
  const auto add_pass = [&](OutlierPass pass) {
    for (int first = 0; first < count; first += kOutlierChunk) {
      barrier();  // the chunk before has been read
      stage_outliers<Threads>(p, tile, pass, first, count, first_row, first_column, thread);
      barrier();
      add_outliers(values, tile, tile_row, column_of);
    }
  };
  if (!p.bitsandbytes) {
#pragma unroll
    for (int fragment = 0; fragment < Fragments; ++fragment) {
#pragma unroll
      for (int i = 0; i < 4; ++i) values[fragment][i] *= row_scale[i / 2] * kInverse;
    }
    add_pass(OutlierPass::Codes);
  }
#pragma unroll
  for (int fragment = 0; fragment < Fragments; ++fragment) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t column =
          min(first_column + column_of(fragment, 2 * part + i), p.columns - 1);
      const float weight_scale = p.weight_scales[column];
      const float bias = p.bias.data ? p.bias[column] : 0.0f;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float& value = values[fragment][2 * half + i];
        value = p.bitsandbytes ? p.dequantize(value, row_scale[half], weight_scale, bias)
                               : fmaf(value, weight_scale * kInverse, bias);
      }
    }
  }
  if (p.bitsandbytes || p.kept_slots) add_pass(OutlierPass::Weights);
#pragma unroll
  for (int fragment = 0; fragment < Fragments; ++fragment) {
#pragma unroll
    for (int i = 0; i < 4; ++i) values[fragment][i] = p.finish(values[fragment][i], 0.0f);
  }
}

// Stores neighbours of a row from column on; those past the last column are dropped. Even columns.
template <int Count>
__device__ __forceinline__ void store_results(const Product& p, int64_t row, int64_t column,
                                              const float (&values)[Count]) {
  const int64_t index = row * p.columns + column;
  const bool whole = column + Count <= p.columns && p.columns % Count == 0;
  if (!whole) {
    for (int i = 0; i < Count; ++i) {
      if (column + i < p.columns) store_float(p.out, p.out_dtype, index + i, values[i]);
    }
    return;
  }
  const auto store_as = [&](auto zero) {
    using T = decltype(zero);
    struct alignas(Count * sizeof(T)) Packed {
      T value[Count];
    } packed;
#pragma unroll
    for (int i = 0; i < Count; ++i) packed.value[i] = from_float<T>(values[i]);
    *reinterpret_cast<Packed*>(static_cast<T*>(p.out) + index) = packed;
  };
  switch (p.out_dtype) {
    case DType::F16:
      return store_as(__half{});
    case DType::BF16:
      return store_as(__nv_bfloat16{});
    default:
      return store_as(float{});
  }
}

}  // namespace fewbit::cuda::int8
