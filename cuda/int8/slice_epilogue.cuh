// The epilogue of a slice of the fused kernel's tile in the usual case: mode 0, few outliers, columns a
// multiple of eight. The same results as finish_tile and store_fragments in far fewer instructions: an
// epilogue runs with few warps, so what it costs is the length of its chain of instructions.
#pragma once

#include "tile_epilogue.cuh"

namespace fewbit::cuda::int8 {

// A tile's outliers, which all fit in the two buffers, from hand-over `first` on.
template <int Rows, int Columns>
struct StagedOutliers {
  const OutlierTile<Rows, Columns>* tiles;
  int first;
  int codes, weights;  // hand-overs of each pass
};

__device__ __forceinline__ uint32_t pack(float first, float second, __half) {
  const __half2 pair = __floats2half2_rn(first, second);
  return reinterpret_cast<const uint32_t&>(pair);
}

__device__ __forceinline__ uint32_t pack(float first, float second, __nv_bfloat16) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
  return reinterpret_cast<const uint32_t&>(pair);
}

// Threads 2i and 2i + 1 trade so that each stores four neighbours: the even one of the left fragment,
// the odd one of the right. inside says whether a thread may store.
template <class T>
__device__ __forceinline__ void store_pair(T* to, bool inside, const float (&left)[2],
                                           const float (&right)[2]) {
  const bool odd = threadIdx.x % 2;
  if constexpr (sizeof(T) == 2) {
    const uint32_t packed_left = pack(left[0], left[1], T{});
    const uint32_t packed_right = pack(right[0], right[1], T{});
    const uint32_t got = __shfl_xor_sync(0xffffffffu, odd ? packed_left : packed_right, 1);
    if (inside) store_four(to, odd ? got : packed_left, odd ? packed_right : got);
  } else {
    const float got0 = __shfl_xor_sync(0xffffffffu, odd ? left[0] : right[0], 1);
    const float got1 = __shfl_xor_sync(0xffffffffu, odd ? left[1] : right[1], 1);
    const float four[4] = {odd ? got0 : left[0], odd ? got1 : left[1], odd ? right[0] : got0,
                           odd ? right[1] : got1};
    if (inside) store_four(to, four);
  }
}

// values: a warp's sums in tile columns slice_column + {0 .. 8 Fragments - 1}, as floats.
template <int Fragments, int Rows, int Columns>
__device__ __forceinline__ void finish_slice(const Product& p, const TilePart& part,
                                             const ColumnTerms<Columns>& terms,
                                             const StagedOutliers<Rows, Columns>& outliers,
                                             float (&values)[Fragments][4], int slice_column) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  constexpr float kInverse = 1.0f / 127.0f;
  const float row_scale[2] = {part.row_scale[0] * kInverse, part.row_scale[1] * kInverse};
#pragma unroll
  for (int i = 0; i < Fragments * 4; ++i) values[i / 4][i % 4] *= row_scale[i / 2 % 2];
  const auto column_of = [&](int fragment, int index) {
    return slice_column + fragment * 8 + index;
  };
#pragma unroll 1
  for (int i = 0; i < outliers.codes; ++i) {
    add_outliers(p, values, outliers.tiles[(outliers.first + i) % 2], part.row, column_of);
  }
#pragma unroll
  for (int i = 0; i < Fragments; ++i) {
    const float4 two = *reinterpret_cast<const float4*>(&terms.term[column_of(i, lane % 4 * 2)]);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      values[i][2 * half] = fmaf(values[i][2 * half], two.x, two.y);
      values[i][2 * half + 1] = fmaf(values[i][2 * half + 1], two.z, two.w);
    }
  }
#pragma unroll 1
  for (int i = 0; i < outliers.weights; ++i) {
    add_outliers(p, values, outliers.tiles[(outliers.first + outliers.codes + i) % 2], part.row,
                 column_of);
  }
  activate_all(p, values);
  const int64_t column = part.first_column + slice_column + lane % 2 * 8 + lane % 4 / 2 * 4;
  const int64_t row = part.first_row + part.row + lane / 4;
  const int left = static_cast<int>(min(p.columns - column, int64_t{Columns}));
  with_result_type(p, [&](auto zero) {
    auto* const to = static_cast<decltype(zero)*>(p.out) + row * p.columns + column;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const bool inside = row + half * 8 < p.rows;
#pragma unroll
      for (int i = 0; i < Fragments; i += 2) {
        store_pair(to + half * 8 * p.columns + i * 8, inside && i * 8 < left,
                   {values[i][2 * half], values[i][2 * half + 1]},
                   {values[i + 1][2 * half], values[i + 1][2 * half + 1]});
      }
    }
  });
}

}  // namespace fewbit::cuda::int8
