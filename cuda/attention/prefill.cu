// Flash attention for many rows: a block treats 64 query rows of one head, four warps of 16 rows
// each, and walks over the keys tile by tile with a running softmax. Rows of a block may belong to
// several sequences: each distinct one gets its own walk, in which the others' rows are masked.
#include <algorithm>
#include <type_traits>

#include "../common/reduce.cuh"
#include "fragment.cuh"
#include "problem.cuh"
#include "row_table.cuh"

namespace fewbit::cuda::attention {

namespace {

constexpr int kRows = 64;
constexpr int kThreads = 128;

template <int Chunks>
struct Shape {
  static constexpr int kKeys = Chunks <= 4 ? 64 : 32;         // of a tile
  static constexpr int kStrideChunks = (Chunks + 1) / 2 * 8;  // 16-byte chunks of a shared row
  static constexpr int kTileBytes = kKeys * kStrideChunks * 16;
  static constexpr int kStageBytes = 2 * kTileBytes;  // keys, then values
  static constexpr int kSharedBytes = 2 * kStageBytes;
  static constexpr bool kHoldQuery = Chunks <= 4;  // in registers
};

// Shared rows are read 8 at a time (one chunk of each) and 2 at a time (four chunks of each). With
// the row's low three bits reversed into the chunk's index, neither meets a bank twice.
__device__ __forceinline__ int swizzle(int chunk, int row) {
  return chunk ^ ((row & 1) << 2 | (row & 2) | (row & 4) >> 2);
}

// Starts the copies of one tile of keys and values into a stage.
template <int Chunks>
__device__ __forceinline__ void copy_tile(const Problem& problem, uint32_t stage,
                                          const uint32_t* cache_rows) {
  using S = Shape<Chunks>;
  constexpr int kRowChunks = 4 * Chunks;
  const int head_chunks = problem.dim / 8;
  const char* keys = static_cast<const char*>(problem.key_cache);
  const char* values = static_cast<const char*>(problem.value_cache);
#pragma unroll
  for (int i = 0; i < S::kKeys * kRowChunks / kThreads; ++i) {
    const int index = i * kThreads + threadIdx.x;
    const int key = index / kRowChunks, chunk = index % kRowChunks;
    const bool read = chunk < head_chunks;
    const int64_t from =
        (static_cast<int64_t>(cache_rows[key]) * problem.dim + (read ? chunk * 8 : 0)) * 2;
    const uint32_t to = stage + (key * S::kStrideChunks + swizzle(chunk, key)) * 16;
    copy_async(to, keys + from, read);
    copy_async(to + S::kTileBytes, values + from, read);
  }
}

template <class T, int Chunks>
__global__ void __launch_bounds__(kThreads, 2) prefill_kernel(const Problem problem) {
  using S = Shape<Chunks>;
  constexpr int kKeyTiles = S::kKeys / 8;  // of 8 columns of the scores
  constexpr int kOutTiles = Chunks * 4;    // of 8 columns of the output
  extern __shared__ __align__(128) unsigned char shared[];
  __shared__ RowTable<kRows> table;
  __shared__ uint32_t cache_rows[2][S::kKeys];

  // The longest walks start first.
  const int head = blockIdx.x;
  const int first_row = (gridDim.y - 1 - blockIdx.y) * kRows;
  const int kv_head = head / problem.group;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int group = lane / 4, member = lane % 4;
  const int head_chunks = problem.dim / 8;
  const uint32_t stages = static_cast<uint32_t>(__cvta_generic_to_shared(shared));

  start_successor();
  wait_for_predecessor();
  fill_rows(table, problem, first_row);

  // This lane's two rows. Rows past the end read the last one; nothing of theirs is stored.
  const int in_block[2] = {warp * 16 + group, warp * 16 + group + 8};
  const T* query[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    query[r] = problem.query<T>(min(first_row + in_block[r], problem.rows - 1), head);
  }
  const auto load_query = [&](int r, int i) {
    const int chunk = member + 4 * i;
    return chunk < head_chunks ? *reinterpret_cast<const uint4*>(query[r] + chunk * 8) : uint4{};
  };
  uint4 held[S::kHoldQuery ? Chunks : 1][2];
  if constexpr (S::kHoldQuery) {
#pragma unroll
    for (int i = 0; i < Chunks; ++i) held[i][0] = load_query(0, i), held[i][1] = load_query(1, i);
  }

  float out[kOutTiles][4] = {};
  float largest[2] = {-INFINITY, -INFINITY}, weight_sum[2] = {0.0f, 0.0f};

  for (int start = next_sequence(table, -1); start < kRows; start = next_sequence(table, start)) {
    const int sequence = table.sequence[start];
    const int least = table.least[start], last_key = table.largest[start];
    const int tiles = last_key / S::kKeys + 1;
    int limit[2];  // last key that a row attends to
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      limit[r] = table.sequence[in_block[r]] == sequence ? table.position[in_block[r]] : -1;
    }
    const int warp_limit = __reduce_max_sync(kFullWarp, max(limit[0], limit[1]));

    const auto look_up = [&](int tile) {
      const int key = min(tile * S::kKeys + static_cast<int>(threadIdx.x), last_key);
      return problem.cache_row(sequence, kv_head, key);
    };
    if (threadIdx.x < S::kKeys) {
      cache_rows[0][threadIdx.x] = look_up(0);
      if (tiles > 1) cache_rows[1][threadIdx.x] = look_up(1);
    }
    __syncthreads();
    copy_tile<Chunks>(problem, stages, cache_rows[0]);
    commit_copies();

    for (int tile = 0; tile < tiles; ++tile) {
      const uint32_t keys = stages + (tile & 1) * S::kStageBytes;
      const uint32_t values = keys + S::kTileBytes;
      if (tile + 1 < tiles) {
        copy_tile<Chunks>(problem, stages + ((tile + 1) & 1) * S::kStageBytes,
                          cache_rows[(tile + 1) & 1]);
      }
      commit_copies();
      uint32_t next_row = 0;
      if (tile + 2 < tiles && threadIdx.x < S::kKeys) next_row = look_up(tile + 2);
      wait_copies<1>();
      __syncthreads();

      const int first_key = tile * S::kKeys;
      if (first_key <= warp_limit) {
        float score[kKeyTiles][4] = {};
#pragma unroll
        for (int i = 0; i < Chunks; ++i) {
          const uint4 a = S::kHoldQuery ? held[S::kHoldQuery ? i : 0][0] : load_query(0, i);
          const uint4 b = S::kHoldQuery ? held[S::kHoldQuery ? i : 0][1] : load_query(1, i);
#pragma unroll
          for (int n = 0; n < kKeyTiles; ++n) {
            const int offset = (n * 8 + group) * S::kStrideChunks + swizzle(member + 4 * i, group);
            const uint4 k = load_shared(keys + offset * 16);
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
          float top = largest[r];
#pragma unroll
          for (int n = 0; n < kKeyTiles; ++n) {
            top = fmaxf(top, fmaxf(score[n][2 * r], score[n][2 * r + 1]));
          }
          top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, 1));
          top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, 2));
          // Scores keep their own scale here; a row without keys so far must not give inf - inf.
          const float base = top == -INFINITY ? 0.0f : top * problem.scale_log2;
          const float shrink = power_of_two(largest[r] * problem.scale_log2 - base);
          largest[r] = top;
          float sum = 0.0f;
#pragma unroll
          for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
            for (int i = 2 * r; i < 2 * r + 2; ++i) {
              score[n][i] = power_of_two(fmaf(score[n][i], problem.scale_log2, -base));
              sum += score[n][i];
            }
          }
          weight_sum[r] = weight_sum[r] * shrink + sum;
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
          const int row = k * 16 + lane % 16;
#pragma unroll
          for (int n = 0; n < kOutTiles / 2; ++n) {
            const int offset = row * S::kStrideChunks + swizzle(2 * n + lane / 16, row);
            uint32_t v[4];
            load_transposed(v, values + offset * 16);
            Mma<T>::multiply(out[2 * n], a0, a1, a2, a3, v[0], v[1]);
            Mma<T>::multiply(out[2 * n + 1], a0, a1, a2, a3, v[2], v[3]);
          }
        }
      }
      if (tile + 2 < tiles && threadIdx.x < S::kKeys) cache_rows[tile & 1][threadIdx.x] = next_row;
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
    const float inverse = padding ? 0.0f : 1.0f / weight_sum[r];
    T* to = problem.result<T>(row, head);
#pragma unroll
    for (int n = 0; n < kOutTiles; ++n) {
      const int element = n * 8 + member * 2;
      if (element >= problem.dim) continue;
      *reinterpret_cast<uint32_t*>(to + element) =
          pack<T>(out[n][2 * r] * inverse, out[n][2 * r + 1] * inverse);
    }
  }
}

}  // namespace

void run_prefill(const Problem& problem, Context& context) {
  with_half(problem.dtype, "attention: q", [&](auto zero) {
    using T = decltype(zero);
    with_chunks(problem.dim, [&](auto chunks) {
      const unsigned row_blocks = (problem.rows + kRows - 1) / kRows;
      launch({.name = "attention (prefill)",
              .grid = dim3(problem.query_heads, row_blocks),
              .block = dim3(kThreads),
              .shared_bytes = Shape<chunks()>::kSharedBytes,
              .overlap = true},
             context, prefill_kernel<T, chunks()>, problem);
    });
  });
}

}  // namespace fewbit::cuda::attention
