// From the sums of a transposed tile, in wgmma accumulators, to stored results.
#pragma once

#include "../common/hopper.cuh"
#include "product.cuh"

namespace fewbit::cuda::bitnet {

// Lane 4i + j holds elements (i, 2j) and (i, 2j + 1) of an 8 x 8 matrix of 16-bit elements, and gets
// those of its transpose.
__device__ __forceinline__ uint32_t transpose(uint32_t pair) {
  uint32_t transposed;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(transposed) : "r"(pair));
  return transposed;
}

template <class T>
__device__ __forceinline__ uint32_t pack(float first, float second);
template <>
__device__ __forceinline__ uint32_t pack<__half>(float first, float second) {
  const __half2 pair = __floats2half2_rn(first, second);
  return reinterpret_cast<const uint32_t&>(pair);
}
template <>
__device__ __forceinline__ uint32_t pack<__nv_bfloat16>(float first, float second) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
  return reinterpret_cast<const uint32_t&>(pair);
}

// Two neighbouring results added to what the residual holds in their places, as Product::store does.
template <class T>
__device__ __forceinline__ uint32_t add_pair(uint32_t before, uint32_t results) {
  const T* a = reinterpret_cast<const T*>(&before);
  const T* b = reinterpret_cast<const T*>(&results);
  return pack<T>(__fadd_rn(to_float(a[0]), to_float(b[0])),
                 __fadd_rn(to_float(a[1]), to_float(b[1])));
}

template <class T>
__device__ __forceinline__ const T* residual_of(const Product& p, int64_t row, int64_t column) {
  return static_cast<const T*>(p.residual) + row * p.residual_stride + column;
}

// A warp's 16 columns of the result by 8 rows: values are (column, row), (column, row + 1),
// (column + 8, row), (column + 8, row + 1), where column = first_column + lane / 4 and row =
// first_row + lane % 4 * 2.
template <class T, bool Adds>
__device__ __forceinline__ void store_transposed(const Product& p, const float (&values)[4],
                                                 int64_t first_row, int64_t first_column) {
  const int lane = threadIdx.x % 32;
  const uint32_t left = transpose(pack<T>(values[0], values[1]));
  const uint32_t right = transpose(pack<T>(values[2], values[3]));
  // Neighbours trade, so that each has four columns.
  const bool odd = lane % 2;
  const uint32_t got = __shfl_xor_sync(0xffffffffu, odd ? left : right, 1);
  const int64_t row = first_row + lane / 4;
  const int64_t column = first_column + (odd ? 8 : 0) + lane % 4 / 2 * 4;
  if (row >= p.rows || column >= p.columns) return;
  uint2 results{odd ? got : left, odd ? right : got};
  if constexpr (Adds) {
    const uint2 before = *reinterpret_cast<const uint2*>(residual_of<T>(p, row, column));
    results = {add_pair<T>(before.x, results.x), add_pair<T>(before.y, results.y)};
  }
  *reinterpret_cast<uint2*>(static_cast<T*>(p.out) + row * p.out_stride + column) = results;
}

// Whether so many neighbouring results are 16-bit ones and can be stored at once.
template <int Count>
__host__ __device__ __forceinline__ bool stores_together(const Product& p) {
  const auto fits = [](const void* data, int64_t stride) {
    return stride % Count == 0 && reinterpret_cast<uintptr_t>(data) % (2 * Count) == 0;
  };
  return p.out_dtype != DType::F32 && p.columns % Count == 0 && fits(p.out, p.out_stride) &&
         fits(p.residual, p.residual_stride);
}

template <int Threads, int Tokens>
__device__ __forceinline__ void stage_rows(const Product& p, RowTerms<Tokens>& terms,
                                           int64_t first_row, int thread) {
  for (int i = thread; i < Tokens; i += Threads) {
    const int64_t row = min(first_row + i, p.rows - 1);
    terms.scale[i] = p.scales[row];
    terms.code_sum[i] = p.sums[row];
  }
}

// What the two columns of a thread bring: column and column + 8.
struct ColumnPair {
  float scale[2], bias[2];

  __device__ __forceinline__ ColumnPair(const Product& p, int64_t column) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t own = min(column + half * 8, p.columns - 1);
      scale[half] = p.weight_scales[own];
      bias[half] = p.bias_at(own);
    }
  }
};

// Finishes fragment j of a tile: sums of columns column and column + 8 and of rows 8 j + lane % 4 * 2 +
// {0, 1}. Values are (column, row), (column, row + 1), (column + 8, row), (column + 8, row + 1). Plain:
// what is_plain() says.
template <int Tokens, bool Plain = false>
__device__ __forceinline__ void finish_fragment(float (&values)[4], const Product& p,
                                                const int32_t (&sums)[Tokens / 2],
                                                const RowTerms<Tokens>& rows,
                                                const ColumnPair& columns, int j) {
  const int in_tile = j * 8 + threadIdx.x % 4 * 2;
  const float2 scale = *reinterpret_cast<const float2*>(&rows.scale[in_tile]);
  const int2 code_sum = *reinterpret_cast<const int2*>(&rows.code_sum[in_tile]);
  const auto finish = [&](int i, int32_t codes, float row_scale) {
    const int32_t sum = sums[j * 4 + i];
    const float column_scale = columns.scale[i / 2];
    if constexpr (Plain) {
      values[i] = Product::scaled(sum, codes, row_scale, column_scale);
    } else {
      values[i] = p.finish(sum, codes, row_scale, column_scale, columns.bias[i / 2]);
    }
  };
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    finish(i, code_sum.x, scale.x);
    finish(i + 1, code_sum.y, scale.y);
  }
}

// Stores the share of block rank of Split. One loop for each way to store: a loop that contained all
// of them would be too much code to run through for every tile. Adds: to a residual, which kernels of
// their own do, for the same reason; they store by fours or eights alone.
template <int Tokens, int Split, bool Adds>
__device__ __forceinline__ void store_tile(const Product& p, const int32_t (&sums)[Tokens / 2],
                                           const RowTerms<Tokens>& rows, const ColumnPair& columns,
                                           int64_t first_row, int64_t column, int rank) {
  constexpr int kFragments = Tokens / 8, kOwn = kFragments / Split;
  const int lane = threadIdx.x % 32;
  const auto finish = [&](const auto& store) {
#pragma unroll
    for (int j = 0; j < kFragments; ++j) {
      if (Split > 1 && j / kOwn != rank) continue;
      float values[4];
      finish_fragment<Tokens>(values, p, sums, rows, columns, j);
      store(j, values);
    }
  };
  const auto store_halves = [&](auto zero) {
    finish([&](int j, const float(&values)[4]) {
      store_transposed<decltype(zero), Adds>(p, values, first_row + j * 8, column - lane / 4);
    });
  };
  if (Adds || stores_together<4>(p)) {
    return p.out_dtype == DType::BF16 ? store_halves(__nv_bfloat16{}) : store_halves(__half{});
  }
  if constexpr (!Adds) {
    finish([&](int j, const float(&values)[4]) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int64_t row = first_row + j * 8 + lane % 4 * 2 + i % 2, own = column + i / 2 * 8;
        if (row < p.rows && own < p.columns) p.store(row, own, values[i]);
      }
    });
  }
}

// Where a warpgroup's 64 columns of 32 rows of 16-bit results lie before they are stored, in runs of
// 128 bytes. Two take turns. Rows are swizzled by 16 bytes.
constexpr int kStagedRows = 32;
struct StagedRows {
  unsigned char row[2][kStagedRows][128];
};

// store_tile by way of shared memory, of a warpgroup whose columns start at first_column. Barrier is
// the warpgroup's own; turn counts the uses of staged, from tile to tile.
template <class T, int Tokens, bool Adds, bool Plain>
__device__ __forceinline__ void store_staged(const Product& p, const int32_t (&sums)[Tokens / 2],
                                             const RowTerms<Tokens>& rows,
                                             const ColumnPair& columns, int64_t first_row,
                                             int64_t first_column, StagedRows& staged, int& turn,
                                             int barrier) {
  constexpr int kFragments = Tokens / 8;
  static_assert(kFragments % 2 == 0);
  const int thread = threadIdx.x % 128, warp = thread / 32, lane = thread % 32;
#pragma unroll
  for (int first = 0; first < kFragments; first += kStagedRows / 8, turn ^= 1) {
    unsigned char(&buffer)[kStagedRows][128] = staged.row[turn];
    constexpr int kPairs = kStagedRows / 16;
    // Of the eights that this thread stores.
    const int64_t column = first_column + thread % 8 * 8;
    const auto row_of = [&](int i) { return first_row + first * 8 + i * 16 + thread / 8; };
    const auto inside = [&](int i) {
      return (first * 8 + i * 16 + 16 <= Tokens) && row_of(i) < p.rows && column < p.columns;
    };
    uint4 before[kPairs];
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      if (Adds && inside(i)) {
        before[i] = *reinterpret_cast<const uint4*>(residual_of<T>(p, row_of(i), column));
      }
    }
#pragma unroll
    for (int pair = 0; pair < kPairs; ++pair) {
      const int j = first + pair * 2;
      if (j >= kFragments) break;
      uint32_t packed[4];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float values[4];
        finish_fragment<Tokens, Plain>(values, p, sums, rows, columns, j + i);
        packed[2 * i] = pack<T>(values[0], values[1]);
        packed[2 * i + 1] = pack<T>(values[2], values[3]);
      }
      // A lane names a row of eight columns: of which fragment, and of its left or right half.
      const int row = pair * 16 + lane / 16 * 8 + lane % 8;
      const int piece = (warp * 2 + lane / 8 % 2) ^ (lane % 8);
      asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                       hopper::shared_address(&buffer[row][piece * 16])),
                   "r"(packed[0]), "r"(packed[1]), "r"(packed[2]), "r"(packed[3])
                   : "memory");
    }
    asm volatile("bar.sync %0, 128;" ::"r"(barrier) : "memory");
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      if (!inside(i)) continue;
      const int row = i * 16 + thread / 8;
      uint4 results = *reinterpret_cast<const uint4*>(&buffer[row][(thread % 8 ^ row % 8) * 16]);
      if constexpr (Adds) {
        results = {add_pair<T>(before[i].x, results.x), add_pair<T>(before[i].y, results.y),
                   add_pair<T>(before[i].z, results.z), add_pair<T>(before[i].w, results.w)};
      }
      *reinterpret_cast<uint4*>(static_cast<T*>(p.out) + row_of(i) * p.out_stride + column) =
          results;
    }
  }
}

}  // namespace fewbit::cuda::bitnet
