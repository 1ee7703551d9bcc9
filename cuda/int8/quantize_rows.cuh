// Many rows: a first kernel marks the outlier columns, a second one quantizes a row per block.
#pragma once

#include "quantize.cuh"

namespace fewbit::cuda::int8 {

constexpr int kMarkThreads = 512;
constexpr int kMarkChunks = 16;  // of a row that a block reads: 128 columns
constexpr int kMarkWords = kMarkChunks / kChunksPerWord;
constexpr int kRowThreads = 256;

// Bit masks of outlier columns: groups of rows have their own, which the readers combine, so that
// nothing has to be cleared first.
struct MarkedColumns {
  uint32_t* words;  // [groups, word_count]; null without a threshold
  int groups;
  int word_count;
};

// Block (b, g) owns columns 128 b .. 128 b + 127 of the rows of group g.
template <class T, bool Vectors>
__global__ __launch_bounds__(kMarkThreads) void mark_columns(Quantize q, MarkedColumns marked) {
  wait_for_predecessor();
  start_successor();
  constexpr int kRowsAtOnce = kMarkThreads / kMarkChunks;
  constexpr int kUnroll = 4;
  __shared__ uint32_t found[kMarkWords];
  if (threadIdx.x < kMarkWords) found[threadIdx.x] = 0;
  __syncthreads();
  const int part = threadIdx.x % kMarkChunks;
  const int64_t chunk = int64_t{blockIdx.x} * kMarkChunks + part;
  uint32_t bits = 0;
  if (chunk * kChunk < q.cols) {
    const int64_t first = int64_t{blockIdx.y} * kRowsAtOnce * kUnroll + threadIdx.x / kMarkChunks;
    for (int64_t row = first; row < q.rows; row += int64_t{marked.groups} * kRowsAtOnce * kUnroll) {
      Chunk<T> loaded[kUnroll];
#pragma unroll
      for (int i = 0; i < kUnroll; ++i) {
        loaded[i] = load_chunk<T, Vectors>(q, min(row + i * kRowsAtOnce, q.rows - 1), chunk);
      }
#pragma unroll
      for (int i = 0; i < kUnroll; ++i) bits |= outlier_bits(loaded[i], q.threshold);
    }
  }
  if (bits) atomicOr(&found[part / kChunksPerWord], bits << part % kChunksPerWord * kChunk);
  __syncthreads();
  const int word = static_cast<int>(blockIdx.x) * kMarkWords + static_cast<int>(threadIdx.x);
  if (threadIdx.x < kMarkWords && word < marked.word_count) {
    marked.words[int64_t{blockIdx.y} * marked.word_count + word] = found[threadIdx.x];
  }
}

// Dynamic shared memory: word_count words, rounded up to 16 bytes, then the row when Cached. Blocks
// take turns at the rows, from the last one on: mark_columns has just read those, so they are in L2.
// with_list says that there is one block more, which writes the outliers.
template <class T, bool Vectors, bool Cached>
__global__ __launch_bounds__(kRowThreads) void quantize_rows(Quantize q, MarkedColumns marked,
                                                             bool with_list) {
  extern __shared__ __align__(16) unsigned char shared[];
  __shared__ uint32_t scratch[2][kRowThreads / 32];
  auto* words = reinterpret_cast<uint32_t*>(shared);
  auto* cache = reinterpret_cast<Chunk<T>*>(words + (marked.word_count + 3) / 4 * 4);
  const int64_t blocks = int64_t{gridDim.x} - with_list;
  const bool lists = blockIdx.x == blocks;
  const int64_t chunks = (q.padded_cols + kChunk - 1) / kChunk;
  // A thread reads back only what it wrote.
  const auto fill_cache = [&](int64_t row) {
    if constexpr (Cached) {
      if (lists) return;
#pragma unroll 4
      for (int64_t chunk = threadIdx.x; chunk < chunks; chunk += kRowThreads) {
        cache[chunk] = load_chunk<T, Vectors>(q, row, chunk);
      }
    }
  };
  if (marked.words) {
    // The predecessor is mark_columns, which let this kernel start after x was complete.
    fill_cache(q.rows - 1 - blockIdx.x);
    wait_for_predecessor();
  } else {
    wait_for_predecessor();
    fill_cache(q.rows - 1 - blockIdx.x);
  }
  start_successor();
  for (int i = threadIdx.x; i < marked.word_count; i += kRowThreads) {
    uint32_t word = 0;
#pragma unroll 8
    for (int group = 0; group < marked.groups; ++group) {
      word |= marked.words[int64_t{group} * marked.word_count + i];
    }
    words[i] = word;
  }
  __syncthreads();
  if (lists) {
    if (threadIdx.x >= 32) return;
    const int count = q.columns ? write_columns(words, marked.word_count, 0, q.columns, 0) : 0;
    if (threadIdx.x == 0) write_count(q, count);
    return;
  }

  const auto columns_of = [&](int64_t chunk) {
    const int64_t word = chunk / kChunksPerWord;
    return word < marked.word_count ? words[word] >> chunk % kChunksPerWord * kChunk & 0xffu : 0u;
  };
  int turn = 0;
  const int64_t first = q.rows - 1 - blockIdx.x;
  for (int64_t row = first; row >= 0; row -= blocks, turn ^= 1) {
    if (row != first) fill_cache(row);
    const auto values_of = [&](int64_t chunk) {
      if constexpr (Cached) return cache[chunk];
      return load_chunk<T, Vectors>(q, row, chunk);
    };
    uint32_t largest = 0;
    for (int64_t chunk = threadIdx.x; chunk < chunks; chunk += kRowThreads) {
      largest = max(largest, counted_max(q, values_of(chunk), columns_of(chunk)));
    }
    const float scale = scale_of(block_reduce<kRowThreads>(largest, Max{}, scratch[turn]));
    const float inverse = inverse_of(scale);
    if (threadIdx.x == 0) q.scales[row] = scale;
    for (int64_t chunk = threadIdx.x; chunk < chunks; chunk += kRowThreads) {
      store_codes<T, Vectors>(q, row, chunk, values_of(chunk), inverse, columns_of(chunk));
    }
  }
}

}  // namespace fewbit::cuda::int8
