// One row: a single block holds it in registers, so that nothing is read twice and nobody is met.
#pragma once

#include "quantize.cuh"

namespace fewbit::cuda::int8 {

constexpr int kOneRowThreads = 544;  // the last warp writes the list of outliers
constexpr int kHeldChunks = 4;       // of a thread
constexpr int kOneRowValues = (kOneRowThreads - 32) * kHeldChunks * kChunk;  // at most

template <class T, bool Vectors>
__global__ __launch_bounds__(kOneRowThreads) void quantize_row(Quantize q) {
  constexpr int kThreads = kOneRowThreads - 32, kWarps = kThreads / 32;
  constexpr int kWords = kOneRowValues / kChunk / kChunksPerWord;
  __shared__ uint32_t words[kWords];
  __shared__ uint32_t scratch[kWarps];
  const int thread = threadIdx.x;
  const int chunks = static_cast<int>((q.padded_cols + kChunk - 1) / kChunk);
  const bool split = q.threshold > 0;
  start_successor();  // this early, a product can fetch weights while the predecessor ends
  wait_for_predecessor();

  Chunk<T> held[kHeldChunks];
  uint32_t outliers[kHeldChunks] = {};
  if (thread < kThreads) {
#pragma unroll
    for (int i = 0; i < kHeldChunks; ++i) {
      const int chunk = thread + i * kThreads;
      if (chunk < chunks) held[i] = load_chunk<T, Vectors>(q, 0, chunk);
    }
    uint32_t largest = 0;
#pragma unroll
    for (int i = 0; i < kHeldChunks; ++i) {
      const int chunk = thread + i * kThreads;
      if (chunk < chunks) {
        if (split) outliers[i] = outlier_bits(held[i], q.threshold);
        largest = max(largest, counted_max(q, held[i], outliers[i]));
      }
      // A word's bytes are the bits of its chunks.
      reinterpret_cast<uint8_t*>(words)[chunk] = static_cast<uint8_t>(outliers[i]);
    }
    largest = warp_max(largest);
    if (thread % 32 == 0) scratch[thread / 32] = largest;
  }
  __syncthreads();
  if (thread >= kThreads) {
    const int used = (chunks + kChunksPerWord - 1) / kChunksPerWord;
    const int count = q.columns ? write_columns(words, used, q.columns) : 0;
    if (thread == kThreads) write_count(q, count);
    return;
  }
  uint32_t largest = 0;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) largest = max(largest, scratch[i]);
  const float scale = scale_of(largest);
  const float inverse = inverse_of(scale);
  if (thread == 0) q.scales[0] = scale;
#pragma unroll
  for (int i = 0; i < kHeldChunks; ++i) {
    const int chunk = thread + i * kThreads;
    if (chunk < chunks) store_codes<T, Vectors>(q, 0, chunk, held[i], inverse, outliers[i]);
  }
}

}  // namespace fewbit::cuda::int8
