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

// Mode 1's intermediate rounding.
template <int Fragments>
__device__ __forceinline__ void round_all(const Product& p, float (&values)[Fragments][4]) {
  if (p.rounding == DType::BF16) {
#pragma unroll
    for (int i = 0; i < Fragments * 4; ++i) {
      values[i / 4][i % 4] = to_float(from_float<__nv_bfloat16>(values[i / 4][i % 4]));
    }
  } else {
#pragma unroll
    for (int i = 0; i < Fragments * 4; ++i) {
      values[i / 4][i % 4] = to_float(from_float<__half>(values[i / 4][i % 4]));
    }
  }
}

template <int Fragments>
__device__ __forceinline__ void activate_all(const Product& p, float (&values)[Fragments][4]) {
  if (p.activation != Activation::Relu || p.activation_here() != Activation::Relu) return;
#pragma unroll
  for (int i = 0; i < Fragments * 4; ++i) {
    values[i / 4][i % 4] = activate(values[i / 4][i % 4], Activation::Relu);
  }
}

// What a tile's columns bring to its results, in shared memory.
template <int Columns>
struct ColumnTerms {
  alignas(16) float2 term[Columns];  // scale / 127, bias
};

template <int Threads, int Columns>
__device__ __forceinline__ void stage_columns(const Product& p, ColumnTerms<Columns>& terms,
                                              int64_t first_column, int thread) {
  constexpr int kEach = (Columns + Threads - 1) / Threads;
  constexpr float kInverse = 1.0f / 127.0f;
  const auto column_of = [&](int i) {
    return min(first_column + thread + i * Threads, p.columns - 1);
  };
  float scale[kEach], bias[kEach] = {};
#pragma unroll
  for (int i = 0; i < kEach; ++i) scale[i] = p.weight_scales[column_of(i)];
  if (p.bias.data) p.bias.gather(column_of, bias);
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int column = thread + i * Threads;
    if (column >= Columns) break;
    terms.term[column] = {scale[i] * kInverse, bias[i]};
  }
}

// Turns a warp's sums into results, short of the rounding to their dtype. column_of(fragment, 0..7)
// names a fragment's columns within the tile; add_pass(pass) adds the products of that pass. Branches
// are taken per fragment array, not per value: this code runs once a tile, and what limits it is how
// fast instructions arrive.
template <int Fragments, int Columns, class ColumnOf, class AddPass>
__device__ __forceinline__ void finish_tile(const Product& p, const TilePart& part,
                                            const ColumnTerms<Columns>& terms,
                                            float (&values)[Fragments][4], ColumnOf column_of,
                                            AddPass add_pass) {
  constexpr float kInverse = 1.0f / 127.0f;
  const float row_scale[2] = {part.row_scale[0] * kInverse, part.row_scale[1] * kInverse};
#pragma unroll 1
  for (int number = 0; number < 2; ++number) {
    const OutlierPass pass = number == 0 ? OutlierPass::Codes : OutlierPass::Weights;
    if (pass == OutlierPass::Codes) {
#pragma unroll
      for (int i = 0; i < Fragments * 4; ++i) values[i / 4][i % 4] *= row_scale[i / 2 % 2];
    } else {
#pragma unroll
      for (int i = 0; i < Fragments * 2; ++i) {
        const int column = column_of(i / 2, threadIdx.x % 4 * 2 + i % 2);
        const auto [scale, bias] = terms.term[column];
        values[i / 2][i % 2] = fmaf(values[i / 2][i % 2], scale, bias);
        values[i / 2][i % 2 + 2] = fmaf(values[i / 2][i % 2 + 2], scale, bias);
      }
      if (p.bitsandbytes) round_all(p, values);
    }
    if (p.has_pass(pass)) add_pass(pass);
  }
  if (p.bitsandbytes) round_all(p, values);
  activate_all(p, values);
}

// Four values in one store. In assembly, because the compiler takes such stores apart here and writes
// 16-bit values one by one, which takes longer than all the rest of an epilogue.
__device__ __forceinline__ void store_four(float* to, const float (&values)[4]) {
  asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(values[0]), "f"(values[1]),
               "f"(values[2]), "f"(values[3])
               : "memory");
}

__device__ __forceinline__ void store_four(void* to, uint32_t first, uint32_t second) {
  asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(to), "r"(first), "r"(second) : "memory");
}

__device__ __forceinline__ void store_four(__half* to, const float (&values)[4]) {
  const __half2 first = __floats2half2_rn(values[0], values[1]);
  const __half2 second = __floats2half2_rn(values[2], values[3]);
  store_four(to, reinterpret_cast<const uint32_t&>(first),
             reinterpret_cast<const uint32_t&>(second));
}

__device__ __forceinline__ void store_four(__nv_bfloat16* to, const float (&values)[4]) {
  const __nv_bfloat162 first = __floats2bfloat162_rn(values[0], values[1]);
  const __nv_bfloat162 second = __floats2bfloat162_rn(values[2], values[3]);
  store_four(to, reinterpret_cast<const uint32_t&>(first),
             reinterpret_cast<const uint32_t&>(second));
}

// Stores four neighbours of a row from column on as T; those past the last column are dropped.
// column is a multiple of four.
template <class T>
__device__ __forceinline__ void store_results(const Product& p, int64_t row, int64_t column,
                                              const float (&values)[4]) {
  T* to = static_cast<T*>(p.out) + row * p.columns + column;
  if (p.columns % 4 == 0) {
    if (column < p.columns) store_four(to, values);
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (column + i < p.columns) to[i] = from_float<T>(values[i]);
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

// Stores a thread's share of neighbouring fragments, whose first column is given. In pairs of them,
// threads 2i and 2i + 1 trade, so that each has four neighbouring columns.
template <class T, int Fragments>
__device__ __forceinline__ void store_fragments(const Product& p, const int64_t (&rows)[2],
                                                int64_t first_column,
                                                const float (&values)[Fragments][4]) {
  const bool odd = threadIdx.x % 2;
  const int64_t column = first_column + (odd ? 8 : 0) + threadIdx.x % 4 / 2 * 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int i = 0; i < Fragments; i += 2) {
      const float left[2] = {values[i][2 * half], values[i][2 * half + 1]};
      const float right[2] = {values[i + 1][2 * half], values[i + 1][2 * half + 1]};
      const float got0 = __shfl_xor_sync(0xffffffffu, odd ? left[0] : right[0], 1);
      const float got1 = __shfl_xor_sync(0xffffffffu, odd ? left[1] : right[1], 1);
      const float four[4] = {odd ? got0 : left[0], odd ? got1 : left[1], odd ? right[0] : got0,
                             odd ? right[1] : got1};
      if (rows[half] < p.rows) store_results<T>(p, rows[half], column + i * 8, four);
    }
  }
}

}  // namespace fewbit::cuda::int8
