// Many rows: a first kernel marks the outlier columns, a second one quantizes a row per block.
#pragma once

#include "quantize.cuh"

namespace fewbit::cuda::int8 {

constexpr int kMarkThreads = 256;
constexpr int kRowThreads = 256;

// Block b owns columns 32 b .. 32 b + 31 and all rows, so words[b] needs no atomics or clearing.
template <class T, bool Vectors>
__global__ __launch_bounds__(kMarkThreads) void mark_columns(Quantize q, uint32_t* words) {
  wait_for_predecessor();
  constexpr int kRowsAtOnce = kMarkThreads / kChunksPerWord;
  constexpr int kUnroll = 4;
  __shared__ uint32_t found;
  if (threadIdx.x == 0) found = 0;
  __syncthreads();
  const int part = threadIdx.x % kChunksPerWord;
  const int64_t chunk = int64_t{blockIdx.x} * kChunksPerWord + part;
  uint32_t bits = 0;
  for (int64_t first = threadIdx.x / kChunksPerWord; first < q.rows;
       first += kRowsAtOnce * kUnroll) {
    Chunk<T> loaded[kUnroll];
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      const int64_t row = min(first + i * kRowsAtOnce, q.rows - 1);
      loaded[i] = load_chunk<T, Vectors>(q, row, chunk);
    }
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) bits |= outlier_bits(loaded[i], q.threshold);
  }
  bits = __reduce_or_sync(kFullWarp, bits << part * kChunk);
  if (bits && threadIdx.x % 32 == 0) atomicOr(&found, bits);
  __syncthreads();
  if (threadIdx.x == 0) words[blockIdx.x] = found;
}

// words is null without a threshold. Cached: the row fits in the dynamic shared memory of the
// launch. With a threshold one block more than rows is launched, which writes the outlier list.
template <class T, bool Vectors, bool Cached>
__global__ __launch_bounds__(kRowThreads) void quantize_rows(Quantize q, const uint32_t* words) {
  extern __shared__ __align__(16) unsigned char shared[];
  wait_for_predecessor();
  const int64_t row = blockIdx.x;
  if (row == q.rows) {
    if (threadIdx.x >= 32) return;
    const int count = words && q.columns
                          ? write_columns(words, (q.cols + 31) / 32, 0, q.columns, 0)
                          : 0;
    if (threadIdx.x == 0) write_count(q, count);
    return;
  }
  auto* cache = reinterpret_cast<Chunk<T>*>(shared);
  const int64_t chunks = (q.padded_cols + kChunk - 1) / kChunk;
  const auto columns_of = [&](int64_t chunk) {
    if (!words || chunk * kChunk >= q.cols) return 0u;
    return words[chunk / kChunksPerWord] >> chunk % kChunksPerWord * kChunk & 0xffu;
  };
  uint32_t largest = 0;
  for (int64_t chunk = threadIdx.x; chunk < chunks; chunk += kRowThreads) {
    const Chunk<T> loaded = load_chunk<T, Vectors>(q, row, chunk);
    if constexpr (Cached) cache[chunk] = loaded;
    largest = max(largest, counted_max(q, loaded, columns_of(chunk)));
  }
  __shared__ uint32_t scratch[kRowThreads / 32];
  const float scale = scale_of(block_reduce<kRowThreads>(largest, Max{}, scratch));
  const float inverse = inverse_of(scale);
  if (threadIdx.x == 0) q.scales[row] = scale;
  for (int64_t chunk = threadIdx.x; chunk < chunks; chunk += kRowThreads) {
    Chunk<T> values;
    if constexpr (Cached) {
      values = cache[chunk];
    } else {
      values = load_chunk<T, Vectors>(q, row, chunk);
    }
    store_codes<T, Vectors>(q, row, chunk, values, inverse, columns_of(chunk));
  }
}

}  // namespace fewbit::cuda::int8
