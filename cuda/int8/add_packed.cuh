// Adds the part of packed outliers to results that are there without it: 16 outliers at a time, on the
// tensor cores, through a ring in shared memory. One tile of results a block.
#pragma once

#include "../common/async_copy.cuh"
#include "../common/dependency.cuh"
#include "../common/reduce.cuh"
#include "tile_epilogue.cuh"

namespace fewbit::cuda::int8 {

constexpr int kAddTile = 128;
constexpr int kAddThreads = 256;
constexpr int kAddStages = 4;

using AddTile = OutlierTile<kAddTile, kAddTile>;

// Starts the copies of one chunk of packed outliers; each thread has the same part of every chunk.
__device__ __forceinline__ void fetch_packed(const Product& p, AddTile& tile, int chunk, int width,
                                             int64_t first_row, int64_t first_column, int thread) {
  constexpr int kUnits = kOutlierChunk * 2 / 16;  // of 16 bytes
#pragma unroll
  for (int i = thread; i < kAddTile * kUnits; i += kAddThreads) {
    const int row = i / kUnits, outlier = i % kUnits * 8;
    const int64_t at = chunk * kOutlierChunk + outlier;
    copy_async<16>(&tile.x.value[tile.x.index(row, outlier)],
                   p.packed.x + min(first_row + row, p.rows - 1) * width + at);
    copy_async<16>(&tile.weight.value[tile.weight.index(row, outlier)],
                   p.packed.weight + min(first_column + row, p.columns - 1) * width + at);
  }
}

// Adds sums to four neighbouring results from column on, a multiple of four.
template <class T>
__device__ __forceinline__ void add_to_results(const Product& p, int64_t row, int64_t column,
                                               const float (&sums)[4]) {
  if (row >= p.rows || column >= p.columns) return;
  const T* from = static_cast<const T*>(p.out) + row * p.columns + column;
  struct alignas(4 * sizeof(T)) Four {
    T value[4];
  } four;
  if (p.columns % 4 == 0) {
    four = *reinterpret_cast<const Four*>(from);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) four.value[i] = from[column + i < p.columns ? i : 0];
  }
  float results[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) results[i] = p.finish(to_float(four.value[i]), sums[i]);
  store_results<T>(p, row, column, results);
}

// T: of the results.
template <class T>
__global__ __launch_bounds__(kAddThreads) void add_packed(const Product p) {
  __shared__ AddTile ring[kAddStages];
  start_successor();
  wait_for_predecessor();
  if (!p.packs(p.outlier_total())) return;
  const int2 chunks = *p.packed.chunks;
  const int count = chunks.x + chunks.y, width = count * kOutlierChunk;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int64_t row_tiles = (p.rows + kAddTile - 1) / kAddTile;
  const int64_t first_row = blockIdx.x % row_tiles * kAddTile;
  const int64_t first_column = blockIdx.x / row_tiles * kAddTile;
  const auto fetch = [&](int chunk) {
    if (chunk < count) {
      fetch_packed(p, ring[chunk % kAddStages], chunk, width, first_row, first_column, thread);
    }
    commit_copies();
  };
  for (int i = 0; i < kAddStages - 1; ++i) fetch(i);

  // Of a warp: 32 rows and 64 columns.
  constexpr int kFragments = 8;
  const int own_row = warp / 2 * 32, own_column = warp % 2 * 64;
  float sums[2][kFragments][4] = {};
  // Once all that are multiplied with codes are in the sums.
  const auto scale_codes = [&] {
    if (p.bitsandbytes) return;
#pragma unroll
    for (int i = 0; i < kFragments * 4; ++i) {
      const int64_t column = first_column + own_column + i / 4 * 8 + lane % 4 * 2 + i % 2;
      const float scale = p.weight_scales[min(column, p.columns - 1)] / 127.0f;
      sums[0][i / 4][i % 4] *= scale;
      sums[1][i / 4][i % 4] *= scale;
    }
  };
  for (int chunk = 0; chunk < count; ++chunk) {
    wait_copies<kAddStages - 2>();
    __syncthreads();
    fetch(chunk + kAddStages - 1);  // where the chunk before was, which all have read
    if (chunk == chunks.x) scale_codes();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      add_outliers(p, sums[half], ring[chunk % kAddStages], own_row + half * 16,
                   [&](int fragment, int index) { return own_column + fragment * 8 + index; });
    }
  }
  if (chunks.y == 0) scale_codes();
  // Threads 2i and 2i + 1 trade, as in store_fragments.
  const bool odd = lane % 2;
#pragma unroll
  for (int half = 0; half < 4; ++half) {
    const int64_t row = first_row + own_row + half * 8 + lane / 4;
#pragma unroll
    for (int i = 0; i < kFragments; i += 2) {
      const float* left = &sums[half / 2][i][half % 2 * 2];
      const float* right = &sums[half / 2][i + 1][half % 2 * 2];
      const float got0 = __shfl_xor_sync(kFullWarp, odd ? left[0] : right[0], 1);
      const float got1 = __shfl_xor_sync(kFullWarp, odd ? left[1] : right[1], 1);
      const float four[4] = {odd ? got0 : left[0], odd ? got1 : left[1], odd ? right[0] : got0,
                             odd ? right[1] : got1};
      const int64_t column = first_column + own_column + i * 8 + (odd ? 8 : 0) + lane % 4 / 2 * 4;
      add_to_results<T>(p, row, column, four);
    }
  }
}

}  // namespace fewbit::cuda::int8
