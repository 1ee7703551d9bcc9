// Few rows: a block for each, in clusters of up to eight. The blocks of a cluster share out the columns,
// look for outliers in theirs over all rows, and send each other what they found; other clusters do
// the same search, which costs less than meeting them.
#pragma once

#include "../common/hopper.cuh"
#include "quantize.cuh"

namespace fewbit::cuda::int8 {

constexpr int kMaxClusterBlocks = 8;
constexpr int kClusterThreads = 544;  // the last warp writes the list of outliers

// A block's share of the columns, and what it keeps in dynamic shared memory: the words of all
// columns, of its own ones, and a row.
struct Slice {
  int blocks;  // of a cluster
  int chunks;  // a multiple of kChunksPerWord
  int groups;  // of rows that are searched side by side

  __host__ __device__ int words() const { return chunks / kChunksPerWord; }
  __host__ __device__ int all_words() const { return words() * blocks; }
  __host__ __device__ size_t word_bytes() const {
    constexpr size_t kUnit = 16;
    const size_t bytes = static_cast<size_t>(all_words() + words()) * sizeof(uint32_t);
    return (bytes + kUnit - 1) / kUnit * kUnit;
  }
};

template <class T, bool Vectors>
__global__ __launch_bounds__(kClusterThreads) void quantize_cluster(Quantize q, Slice slice) {
#if __CUDA_ARCH__ >= 900
  using namespace hopper;
  constexpr int kRowThreads = kClusterThreads - 32;
  extern __shared__ __align__(16) unsigned char shared[];
  __shared__ uint32_t scratch[kClusterThreads / 32];
  __shared__ uint64_t all_found;
  auto* words = reinterpret_cast<uint32_t*>(shared);
  uint32_t* own_words = words + slice.all_words();
  auto* cache = reinterpret_cast<Chunk<T>*>(shared + slice.word_bytes());
  const int thread = static_cast<int>(threadIdx.x);
  const bool alone = slice.blocks == 1;
  const int rank = alone ? 0 : static_cast<int>(cluster_rank());
  const int64_t row = blockIdx.x;
  const int64_t chunks = (q.padded_cols + kChunk - 1) / kChunk;
  const auto for_row = [&](auto visit) {
    if (row >= q.rows || thread >= kRowThreads) return;
#pragma unroll 2
    for (int64_t chunk = thread; chunk < chunks; chunk += kRowThreads) visit(chunk);
  };

  start_successor();  // this early, a product can fetch weights while the predecessor ends
  if (thread == 0) {
    barrier_init(all_found, 1);
    arrive_expecting(all_found, static_cast<uint32_t>(slice.all_words()) * sizeof(uint32_t));
    barrier_init_fence();
  }
  for (int i = thread; i < slice.words(); i += kClusterThreads) own_words[i] = 0;
  __syncthreads();
  if (!alone) {
    cluster_arrive_relaxed();
    cluster_wait();
  }
  wait_for_predecessor();

  for_row([&](int64_t chunk) { fetch_chunk<T, Vectors>(q, row, chunk, &cache[chunk]); });
  for (int i = thread; i < slice.chunks * slice.groups; i += kClusterThreads) {
    const int own_chunk = i % slice.chunks;
    const int64_t chunk = int64_t{rank} * slice.chunks + own_chunk;
    if (chunk >= chunks) continue;
    const int64_t start = i / slice.chunks;
    constexpr int kUnroll = 8;
    ColumnMaxima<T> maxima;
    for (int64_t first = start; first < q.rows; first += slice.groups * kUnroll) {
      Chunk<T> loaded[kUnroll];
#pragma unroll
      for (int j = 0; j < kUnroll; ++j) {
        const int64_t other = first + j * slice.groups;
        if (other < q.rows) loaded[j] = load_chunk<T, Vectors>(q, other, chunk);
      }
#pragma unroll
      for (int j = 0; j < kUnroll; ++j) {
        if (first + j * slice.groups < q.rows) maxima.add(loaded[j]);
      }
    }
    uint32_t bits = outlier_bits(maxima.largest, q.threshold);
    if (maxima.has_nan()) {
      bits = 0;
      for (int64_t other = start; other < q.rows; other += slice.groups) {
        bits |= outlier_bits(load_chunk<T, Vectors>(q, other, chunk), q.threshold);
      }
    }
    if (bits) {
      atomicOr(&own_words[own_chunk / kChunksPerWord], bits << own_chunk % kChunksPerWord * kChunk);
    }
  }
  __syncthreads();
  if (alone) {
    words = own_words;
  } else {
    for (int i = thread; i < slice.all_words(); i += kClusterThreads) {
      const int word = i % slice.words(), block = i / slice.words();
      send_word(&words[rank * slice.words() + word], own_words[word], all_found,
                static_cast<uint32_t>(block));
    }
    wait(all_found, 0);
  }
  wait_fetched();

  if (thread >= kRowThreads) {
    if (blockIdx.x > 0) return;
    const int count = write_columns(words, slice.all_words(), q.columns);
    if (thread == kRowThreads) write_count(q, count);
    return;
  }
  uint32_t largest = 0;
  for_row([&](int64_t chunk) {
    largest = max(largest, counted_max(q, cache[chunk], marked_columns(words, chunk)));
  });
  largest = warp_max(largest);
  if (thread % 32 == 0) scratch[thread / 32] = largest;
  named_sync<1, kRowThreads>();
#pragma unroll
  for (int i = 0; i < kRowThreads / 32; ++i) largest = max(largest, scratch[i]);
  const float scale = scale_of(largest);
  const float inverse = inverse_of(scale);
  if (thread == 0 && row < q.rows) q.scales[row] = scale;
  for_row([&](int64_t chunk) {
    store_codes<T, Vectors>(q, row, chunk, cache[chunk], inverse, marked_columns(words, chunk));
  });
#endif
}

}  // namespace fewbit::cuda::int8
