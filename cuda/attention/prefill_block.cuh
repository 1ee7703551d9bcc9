// The part of flash attention that one block does, wherever its keys and values come from: 64 query
// rows of one head, four warps of 16 rows each, which walk over the keys tile by tile with a running
// softmax. Rows of a block may belong to several sequences: each distinct one gets its own walk, in
// which the others' rows are masked.
#pragma once

#include "../common/reduce.cuh"
#include "fragment.cuh"
#include "problem.cuh"
#include "row_table.cuh"

namespace fewbit::cuda::attention {

constexpr int kPrefillRows = 64;
constexpr int kPrefillThreads = 128;

// Two stages of a tile of keys, then values, as rows of 16-bit elements.
template <int Chunks>
struct PrefillShape {
  static constexpr int kKeys = Chunks <= 4 ? 64 : 32;         // of a tile
  static constexpr int kStrideChunks = (Chunks + 1) / 2 * 8;  // 16-byte chunks of a shared row
  static constexpr int kTileBytes = kKeys * kStrideChunks * 16;
  static constexpr int kStageBytes = 2 * kTileBytes;
  static constexpr int kSharedBytes = 2 * kStageBytes;
  static_assert(kSharedBytes <= 99 * 1024);
  static constexpr bool kHoldQuery = Chunks <= 4;  // in registers

  // Shared rows are read 8 at a time (one chunk of each) and 2 at a time (four chunks of each). With
  // the row's low three bits reversed into the chunk's index, neither meets a bank twice.
  static __device__ __forceinline__ int swizzle(int chunk, int row) {
    return chunk ^ ((row & 1) << 2 | (row & 2) | (row & 4) >> 2);
  }
  // Byte offset of a chunk of a row in a tile.
  static __device__ __forceinline__ int place(int row, int chunk) {
    return (row * kStrideChunks + swizzle(chunk, row)) * 16;
  }
};

// By all threads of a block of prefill_kernel's shape. T is the type of the products' elements.
//   struct Source {
//     // 8 elements of a query.
//     uint4 query(int row, int head, int chunk) const;
//     // Before a walk over the keys 0 .. last_key of a sequence; may use barriers.
//     void begin(int sequence, int kv_head, int last_key);
//     // Brings a tile into a stage; what it wrote is complete at the barrier after finish.
//     void start(int tile, uint32_t stage);
//     void finish(int tile, uint32_t stage);
//     // Two neighbouring elements of a result.
//     void store(int row, int head, int element, float first, float second) const;
//   };
template <class T, int Chunks, class Source>
__device__ __forceinline__ void prefill_block(const Problem& problem, Source& source,
                                              unsigned char* shared,
                                              RowTable<kPrefillRows>& table) {
  using S = PrefillShape<Chunks>;
  constexpr int kKeyTiles = S::kKeys / 8;  // of 8 columns of the scores
  constexpr int kOutTiles = Chunks * 4;    // of 8 columns of the output

  // The longest walks start first.
  const int head = blockIdx.x;
  const int first_row = (gridDim.y - 1 - blockIdx.y) * kPrefillRows;
  const int kv_head = head / problem.group;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int group = lane / 4, member = lane % 4;
  const int head_chunks = problem.dim / 8;
  const uint32_t stages = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  fill_rows(table, problem, first_row);

  // This lane's two rows. Rows past the end read the last one; nothing of theirs is stored.
  const int in_block[2] = {warp * 16 + group, warp * 16 + group + 8};
  const auto load_query = [&](int r, int i) {
    const int chunk = member + 4 * i, row = min(first_row + in_block[r], problem.rows - 1);
    return chunk < head_chunks ? source.query(row, head, chunk) : uint4{};
  };
  uint4 held[S::kHoldQuery ? Chunks : 1][2];
  if constexpr (S::kHoldQuery) {
#pragma unroll
    for (int i = 0; i < Chunks; ++i) held[i][0] = load_query(0, i), held[i][1] = load_query(1, i);
  }

  float out[kOutTiles][4] = {};
  float largest[2] = {-INFINITY, -INFINITY}, weight_sum[2] = {0.0f, 0.0f};

  for (int start = next_sequence(table, -1); start < kPrefillRows;
       start = next_sequence(table, start)) {
    const int sequence = table.sequence[start];
    const int least = table.least[start], last_key = table.largest[start];
    const int tiles = last_key / S::kKeys + 1;
    int limit[2];  // last key that a row attends to
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      limit[r] = table.sequence[in_block[r]] == sequence ? table.position[in_block[r]] : -1;
    }
    const int warp_limit = __reduce_max_sync(kFullWarp, max(limit[0], limit[1]));

    source.begin(sequence, kv_head, last_key);
    source.start(0, stages);
    source.finish(0, stages);
    __syncthreads();
    for (int tile = 0; tile < tiles; ++tile) {
      const uint32_t keys = stages + (tile & 1) * S::kStageBytes;
      const uint32_t values = keys + S::kTileBytes;
      const uint32_t next = stages + ((tile + 1) & 1) * S::kStageBytes;
      if (tile + 1 < tiles) source.start(tile + 1, next);

      const int first_key = tile * S::kKeys;
      if (first_key <= warp_limit) {
        float score[kKeyTiles][4] = {};
#pragma unroll
        for (int i = 0; i < Chunks; ++i) {
          const uint4 a = S::kHoldQuery ? held[S::kHoldQuery ? i : 0][0] : load_query(0, i);
          const uint4 b = S::kHoldQuery ? held[S::kHoldQuery ? i : 0][1] : load_query(1, i);
#pragma unroll
          for (int n = 0; n < kKeyTiles; ++n) {
            const int offset = n * 8 * S::kStrideChunks * 16 + S::place(group, member + 4 * i);
            const uint4 k = load_shared(keys + offset);
            Mma<T>::multiply(score[n], a.x, b.x, a.y, b.y, k.x, k.y);
            Mma<T>::multiply(score[n], a.z, b.z, a.w, b.w, k.z, k.w);
          }
        }
        if (first_key + S::kKeys - 1 > least) {
#pragma unroll
          for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const int key = first_key + n * 8 + member * 2 + i % 2;
              if (key > limit[i / 2]) score[n][i] = -INFINITY;
            }
          }
        }

#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const float shrink =
              take_scores<kKeyTiles>([&](int n, int i) -> float& { return score[n][2 * r + i]; },
                                     problem.scale_log2, largest[r], weight_sum[r]);
#pragma unroll
          for (int n = 0; n < kOutTiles; ++n) {
            out[n][2 * r] *= shrink;
            out[n][2 * r + 1] *= shrink;
          }
        }

#pragma unroll
        for (int k = 0; k < kKeyTiles / 2; ++k) {
          const uint32_t a0 = pack<T>(score[2 * k][0], score[2 * k][1]);
          const uint32_t a1 = pack<T>(score[2 * k][2], score[2 * k][3]);
          const uint32_t a2 = pack<T>(score[2 * k + 1][0], score[2 * k + 1][1]);
          const uint32_t a3 = pack<T>(score[2 * k + 1][2], score[2 * k + 1][3]);
#pragma unroll
          for (int n = 0; n < kOutTiles / 2; ++n) {
            uint32_t v[4];
            load_transposed(v, values + S::place(k * 16 + lane % 16, 2 * n + lane / 16));
            Mma<T>::multiply(out[2 * n], a0, a1, a2, a3, v[0], v[1]);
            Mma<T>::multiply(out[2 * n + 1], a0, a1, a2, a3, v[2], v[3]);
          }
        }
      }
      if (tile + 1 < tiles) source.finish(tile + 1, next);
      __syncthreads();
    }
  }

#pragma unroll
  for (int r = 0; r < 2; ++r) {
    weight_sum[r] += __shfl_xor_sync(kFullWarp, weight_sum[r], 1);
    weight_sum[r] += __shfl_xor_sync(kFullWarp, weight_sum[r], 2);
    const int row = first_row + in_block[r];
    if (row >= problem.rows) continue;
    const bool padding = table.position[in_block[r]] < 0;
    const float inverse = 1.0f / weight_sum[r];
#pragma unroll
    for (int n = 0; n < kOutTiles; ++n) {
      const int element = n * 8 + member * 2;
      if (element >= problem.dim) continue;
      if (padding) {
        *reinterpret_cast<uint32_t*>(problem.result<uint16_t>(row, head) + element) = 0;
      } else {
        source.store(row, head, element, out[n][2 * r] * inverse, out[n][2 * r + 1] * inverse);
      }
    }
  }
}

}  // namespace fewbit::cuda::attention
