// Many rows, or a device without clusters: a block owns whole rows, and the outlier columns that
// blocks find meet in device memory.
//
// All blocks wait for each other in the middle, without which no row has a scale. They cannot
// deadlock: the grid is no larger than what fits the GPU, blocks of earlier kernels end by themselves,
// and later kernels begin only after every block of this one has. Another stream may still keep some
// blocks out for as long as it wants, perhaps waiting in the same way, so patience is bounded: a block
// that has waited too long looks through all rows itself, which gives the same columns.
#pragma once

#include "quantize.cuh"

namespace fewbit::cuda::int8 {

constexpr int kRowThreads = 512;
constexpr int kRowBlocks = 2;  // on a multiprocessor

// In Zeroed memory. Without a threshold, or with too many columns for it, there are no words.
struct Meeting {
  static constexpr int kCounterWords = 32;  // a line of their own

  uint32_t* words;

  __device__ __forceinline__ uint32_t* arrived() const { return words; }
  __device__ __forceinline__ uint32_t* left() const { return words + 1; }
  __device__ __forceinline__ uint32_t* columns() const { return words + kCounterWords; }
};

// Adds the block's columns to everyone's, waits for all blocks and replaces the words by the union.
// False when the others took too long. All threads call it, after a barrier, and get the same answer.
__device__ __forceinline__ bool meet(const Meeting& meeting, uint32_t* words, int count) {
  constexpr int kPolls = 8192;  // some milliseconds
  bool complete = false;
  if (threadIdx.x < 32) {
    for (int i = threadIdx.x; i < count; i += 32) {
      if (words[i]) atomicOr(&meeting.columns()[i], words[i]);
    }
    __syncwarp();
    if (threadIdx.x == 0) {
      asm volatile("red.release.gpu.add.u32 [%0], 1;" ::"l"(meeting.arrived()) : "memory");
      for (int i = 0; i < kPolls && !complete; ++i) {
        uint32_t arrived;
        asm volatile("ld.acquire.gpu.u32 %0, [%1];"
                     : "=r"(arrived)
                     : "l"(meeting.arrived())
                     : "memory");
        complete = arrived == gridDim.x;
      }
    }
  }
  complete = __syncthreads_or(complete);
  if (complete) {
    for (int i = threadIdx.x; i < count; i += kRowThreads) words[i] = __ldcg(&meeting.columns()[i]);
  }
  return complete;
}

// Says that the block has read what it needs. True for one thread of the last block, which then puts
// the zeros back. All threads call it, after a barrier, before which they have used what they read.
__device__ __forceinline__ bool leave(const Meeting& meeting) {
  if (threadIdx.x > 0) return false;
  return atomicAdd(meeting.left(), 1u) == gridDim.x - 1;
}

__device__ __forceinline__ void clear(const Meeting& meeting, int count) {
  for (int i = threadIdx.x; i < count; i += kRowThreads) meeting.columns()[i] = 0;
  if (threadIdx.x == 0) *meeting.arrived() = *meeting.left() = 0;
}

// Dynamic shared memory: word_count words, rounded up to 16 bytes, then a block's first cached_rows
// rows. A block owns every gridDim.x-th row; with_list says that the last block instead writes the
// outliers.
template <class T, bool Vectors>
__global__ __launch_bounds__(kRowThreads,
                             kRowBlocks) void quantize_rows(Quantize q, Meeting meeting,
                                                            int word_count, int cached_rows,
                                                            bool with_list) {
  extern __shared__ __align__(16) unsigned char shared[];
  __shared__ uint32_t scratch[2][kRowThreads / 32];
  auto* words = reinterpret_cast<uint32_t*>(shared);
  auto* cache = reinterpret_cast<Chunk<T>*>(words + (word_count + 3) / 4 * 4);
  const int64_t blocks = int64_t{gridDim.x} - with_list;
  const bool lists = blockIdx.x == blocks;
  const int64_t chunks = (q.padded_cols + kChunk - 1) / kChunk;
  const int64_t end = lists ? 0 : q.rows;
  const int64_t cached_end = min(end, blockIdx.x + cached_rows * blocks);
  const auto cache_of = [&](int64_t turn) { return cache + turn * chunks; };

  for (int i = threadIdx.x; i < word_count; i += kRowThreads) words[i] = 0;
  start_successor();  // this early, a product can fetch weights while the predecessor ends
  wait_for_predecessor();
  bool last = false;
  int turn = 0;
  for (int64_t row = blockIdx.x; row < cached_end; row += blocks, ++turn) {
    for (int64_t chunk = threadIdx.x; chunk < chunks; chunk += kRowThreads) {
      fetch_chunk<T, Vectors>(q, row, chunk, cache_of(turn) + chunk);
    }
  }
  wait_fetched();

  const auto mark_rows = [&](int64_t first, int64_t step, int64_t past) {
    for (int64_t row = first; row < past; row += step) {
#pragma unroll 4
      for (int64_t chunk = threadIdx.x; chunk < chunks; chunk += kRowThreads) {
        mark_outliers(words, chunk, load_chunk<T, Vectors>(q, row, chunk), q.threshold);
      }
    }
  };
  if (word_count > 0) {
    __syncthreads();
    if (meeting.words) {
      turn = 0;
      for (int64_t row = blockIdx.x; row < cached_end; row += blocks, ++turn) {
        for (int64_t chunk = threadIdx.x; chunk < chunks; chunk += kRowThreads) {
          mark_outliers(words, chunk, cache_of(turn)[chunk], q.threshold);
        }
      }
      mark_rows(blockIdx.x + cached_rows * blocks, blocks, end);
      __syncthreads();
    }
    if (!meeting.words || !meet(meeting, words, word_count)) mark_rows(0, 1, q.rows);
    __syncthreads();
    // Known early, so that nobody waits for the answer in the end.
    if (meeting.words) last = leave(meeting);
  }
  if (lists && threadIdx.x < 32) {
    const int count = q.columns ? write_columns(words, word_count, q.columns) : 0;
    if (threadIdx.x == 0) write_count(q, count);
  }

  const auto columns_of = [&](int64_t chunk) {
    return chunk / kChunksPerWord < word_count ? marked_columns(words, chunk) : 0u;
  };
  // The last rows come first: if they are not here, they were read a moment ago and are in L2.
  turn = static_cast<int>((end - blockIdx.x + blocks - 1) / blocks) - 1;
  for (int64_t row = blockIdx.x + turn * blocks; turn >= 0; row -= blocks, --turn) {
    const auto values_of = [&](int64_t chunk) {
      return turn < cached_rows ? cache_of(turn)[chunk] : load_chunk<T, Vectors>(q, row, chunk);
    };
    uint32_t largest = 0;
    for (int64_t chunk = threadIdx.x; chunk < chunks; chunk += kRowThreads) {
      largest = max(largest, counted_max(q, values_of(chunk), columns_of(chunk)));
    }
    const float scale = scale_of(block_reduce<kRowThreads>(largest, Max{}, scratch[turn % 2]));
    const float inverse = inverse_of(scale);
    if (threadIdx.x == 0) q.scales[row] = scale;
    for (int64_t chunk = threadIdx.x; chunk < chunks; chunk += kRowThreads) {
      store_codes<T, Vectors>(q, row, chunk, values_of(chunk), inverse, columns_of(chunk));
    }
  }
  if (meeting.words && __syncthreads_or(last)) clear(meeting, word_count);
}

}  // namespace fewbit::cuda::int8
