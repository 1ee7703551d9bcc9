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
constexpr int kRowBatch = 4;   // rows whose maxima a block finds before it waits for all its warps

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
  constexpr int kWarps = kRowThreads / 32;
  constexpr int kLoads = 12 / sizeof(T);  // under way at once
  extern __shared__ __align__(16) unsigned char shared[];
  __shared__ uint32_t scratch[2][kRowBatch][kWarps];
  auto* words = reinterpret_cast<uint32_t*>(shared);
  auto* cache = reinterpret_cast<Chunk<T>*>(words + (word_count + 3) / 4 * 4);
  const int thread = threadIdx.x;
  const int64_t blocks = int64_t{gridDim.x} - with_list;
  const bool lists = blockIdx.x == blocks;
  const int chunks = static_cast<int>((q.padded_cols + kChunk - 1) / kChunk);
  const auto row_of = [&](int turn) { return blockIdx.x + turn * blocks; };
  const int turns = lists ? 0 : static_cast<int>((q.rows - row_of(0) + blocks - 1) / blocks);

  for (int i = thread; i < word_count; i += kRowThreads) words[i] = 0;
  start_successor();  // this early, a product can fetch weights while the predecessor ends
  wait_for_predecessor();
  __syncthreads();

  const int first_pass = (word_count > 0 ? turns : min(turns, cached_rows)) * chunks;
  for (int start = thread; start < first_pass; start += kRowThreads * kLoads) {
    Chunk<T> loaded[kLoads];
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int at = start + i * kRowThreads;
      if (at < first_pass) {
        loaded[i] = load_chunk<T, Vectors>(q, row_of(at / chunks), at % chunks);
      }
    }
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int at = start + i * kRowThreads;
      if (at >= first_pass) break;
      if (at < cached_rows * chunks) cache[at] = loaded[i];
      if (word_count > 0) mark_outliers(words, at % chunks, loaded[i], q.threshold);
    }
  }
  __syncthreads();

  bool last = false;
  if (word_count > 0) {
    if (!meeting.words || !meet(meeting, words, word_count)) {
      for (int64_t row = 0; row < q.rows; ++row) {
#pragma unroll 4
        for (int chunk = thread; chunk < chunks; chunk += kRowThreads) {
          mark_outliers(words, chunk, load_chunk<T, Vectors>(q, row, chunk), q.threshold);
        }
      }
    }
    __syncthreads();
    // Known early, so that nobody waits for the answer in the end.
    if (meeting.words) last = leave(meeting);
  }
  if (lists && thread < 32) {
    const int count = q.columns ? write_columns(words, word_count, q.columns) : 0;
    if (thread == 0) write_count(q, count);
  }

  const auto values_of = [&](int turn, int chunk) {
    return turn < cached_rows ? cache[turn * chunks + chunk]
                              : load_chunk<T, Vectors>(q, row_of(turn), chunk);
  };
  const auto columns_of = [&](int chunk) {
    return chunk / kChunksPerWord < word_count ? marked_columns(words, chunk) : 0u;
  };
  // The last rows come first: if they are not here, they were read a moment ago and are in L2.
  int side = 0;
  for (int end = turns; end > 0; end -= kRowBatch, side ^= 1) {
    const int begin = max(end - kRowBatch, 0);
    for (int turn = begin; turn < end; ++turn) {
      uint32_t largest = 0;
      for (int chunk = thread; chunk < chunks; chunk += kRowThreads) {
        largest = max(largest, counted_max(q, values_of(turn, chunk), columns_of(chunk)));
      }
      largest = warp_max(largest);
      if (thread % 32 == 0) scratch[side][turn - begin][thread / 32] = largest;
    }
    __syncthreads();
    for (int turn = begin; turn < end; ++turn) {
      uint32_t largest = 0;
#pragma unroll
      for (int i = 0; i < kWarps; ++i) largest = max(largest, scratch[side][turn - begin][i]);
      const float scale = scale_of(largest);
      const float inverse = inverse_of(scale);
      if (thread == 0) q.scales[row_of(turn)] = scale;
      for (int chunk = thread; chunk < chunks; chunk += kRowThreads) {
        store_codes<T, Vectors>(q, row_of(turn), chunk, values_of(turn, chunk), inverse,
                                columns_of(chunk));
      }
    }
  }
  if (meeting.words && __syncthreads_or(last)) clear(meeting, word_count);
}

}  // namespace fewbit::cuda::int8
