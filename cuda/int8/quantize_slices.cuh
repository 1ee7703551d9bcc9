// Few rows: one launch of one thread-block cluster. Each block keeps a slice of the columns, all
// rows of it, in shared memory, so that it alone knows which of its columns are outliers; the row
// maxima and the outlier counts of the slices meet through distributed shared memory.
#pragma once

#include <cooperative_groups.h>

#include "quantize.cuh"

namespace fewbit::cuda::int8 {

constexpr int kSliceThreads = 512;
constexpr int kSliceWarps = kSliceThreads / 32;
constexpr int kLoadsAtOnce = 4;  // so that their latencies overlap

// Bytes of dynamic shared memory; slice_chunks is a multiple of kChunksPerWord.
template <class T>
size_t slice_bytes(int64_t rows, int64_t slice_chunks) {
  return static_cast<size_t>(rows * slice_chunks) * sizeof(Chunk<T>) +
         static_cast<size_t>(slice_chunks / kChunksPerWord + 2 * rows + 1) * 4;
}

template <class T, bool Vectors>
__global__ __launch_bounds__(kSliceThreads) void quantize_slices(Quantize q, int slice_chunks) {
  start_successor();
  wait_for_predecessor();
  extern __shared__ __align__(16) unsigned char shared[];
  const int rows = static_cast<int>(q.rows);
  const int words = slice_chunks / kChunksPerWord;
  auto* values = reinterpret_cast<Chunk<T>*>(shared);                      // [rows][slice_chunks]
  auto* outliers = reinterpret_cast<uint32_t*>(values + int64_t{rows} * slice_chunks);  // [words]
  uint32_t* slice_max = outliers + words;                                  // [rows]
  auto* inverses = reinterpret_cast<float*>(slice_max + rows);             // [rows]
  int* slice_count = reinterpret_cast<int*>(inverses + rows);

  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const int64_t first_chunk = int64_t{blockIdx.x} * slice_chunks;
  const int64_t all_chunks = (q.padded_cols + kChunk - 1) / kChunk;
  const int chunks =
      static_cast<int>(max(int64_t{0}, min(int64_t{slice_chunks}, all_chunks - first_chunk)));
  // Warps per row: all of them for one row, one from 16 rows on.
  const int row_warps = max(1, kSliceWarps >> (32 - __clz(rows - 1)));
  const int first_row = warp / row_warps, row_step = kSliceWarps / row_warps;
  const int first = warp % row_warps * 32 + lane, step = row_warps * 32;

  for (int i = thread; i < words; i += kSliceThreads) outliers[i] = 0;
  for (int i = thread; i < rows; i += kSliceThreads) slice_max[i] = 0;
  __syncthreads();

  for (int row = first_row; row < rows; row += row_step) {
    for (int start = first; start < chunks; start += step * kLoadsAtOnce) {
      Chunk<T> loaded[kLoadsAtOnce];
#pragma unroll
      for (int i = 0; i < kLoadsAtOnce; ++i) {
        const int chunk = min(start + i * step, chunks - 1);
        loaded[i] = load_chunk<T, Vectors>(q, row, first_chunk + chunk);
      }
#pragma unroll
      for (int i = 0; i < kLoadsAtOnce; ++i) {
        const int chunk = start + i * step;
        if (chunk >= chunks) break;
        values[row * slice_chunks + chunk] = loaded[i];
        const uint32_t bits = q.threshold > 0 ? outlier_bits(loaded[i], q.threshold) : 0;
        if (bits) {
          atomicOr(&outliers[chunk / kChunksPerWord], bits << chunk % kChunksPerWord * kChunk);
        }
      }
    }
  }
  __syncthreads();

  const auto columns_of = [&](int chunk) {
    return outliers[chunk / kChunksPerWord] >> chunk % kChunksPerWord * kChunk & 0xffu;
  };
  for (int row = first_row; row < rows; row += row_step) {
    uint32_t largest = 0;
    for (int chunk = first; chunk < chunks; chunk += step) {
      largest = max(largest, counted_max(q, values[row * slice_chunks + chunk], columns_of(chunk)));
    }
    largest = warp_max(largest);
    if (lane == 0) atomicMax(&slice_max[row], largest);
  }
  if (warp == 0) {
    int count = 0;
    for (int word = lane; word < words; word += 32) count += __popc(outliers[word]);
    count = warp_reduce(count, Sum{});
    if (lane == 0) *slice_count = count;
  }

#if __CUDA_ARCH__ >= 900
  const auto cluster = cooperative_groups::this_cluster();
  cluster.sync();
  const int blocks = static_cast<int>(gridDim.x);
  const auto of_block = [&](auto* local, int block) {
    return *cluster.map_shared_rank(local, static_cast<unsigned>(block));
  };
#else
  __syncthreads();
  const int blocks = 1;
  const auto of_block = [&](auto* local, int) { return *local; };
#endif
  for (int row = thread; row < rows; row += kSliceThreads) {
    uint32_t largest = 0;
    for (int block = 0; block < blocks; ++block) {
      largest = max(largest, of_block(&slice_max[row], block));
    }
    const float scale = scale_of(largest);
    inverses[row] = inverse_of(scale);
    if (blockIdx.x == 0) q.scales[row] = scale;
  }
  if (warp == kSliceWarps - 1) {
    int base = 0, total = 0;
    for (int block = 0; block < blocks; ++block) {
      const int count = of_block(slice_count, block);
      if (block < static_cast<int>(blockIdx.x)) base += count;
      total += count;
    }
    if (q.columns && total > 0) {
      write_columns(outliers, words, first_chunk * kChunk, q.columns, base);
    }
    if (blockIdx.x == 0 && lane == 0) write_count(q, total);
  }
  __syncthreads();

  for (int row = first_row; row < rows; row += row_step) {
    const float inverse = inverses[row];
    for (int chunk = first; chunk < chunks; chunk += step) {
      store_codes<T, Vectors>(q, row, first_chunk + chunk, values[row * slice_chunks + chunk],
                              inverse, columns_of(chunk));
    }
  }
#if __CUDA_ARCH__ >= 900
  cluster.sync();  // no block may leave while others read its shared memory
#endif
}

}  // namespace fewbit::cuda::int8
