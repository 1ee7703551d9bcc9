// The part of flash-decoding that one block does: attention of up to 8 query heads of a row over every
// n-th tile of its keys.
#pragma once

#include <type_traits>

#include "fragment.cuh"
#include "new_rows.cuh"
#include "problem.cuh"
#include "splits.cuh"

namespace fewbit::cuda::attention {

// The keys and values that a warp treats at a time: a lane's part, in blocks of 16 keys.
template <int Chunks>
struct Tile {
  static constexpr int kPairs = (Chunks + 1) / 2;  // 64-element chunks of a value row
  static constexpr int kWidth = kPairs * 64;
  static constexpr bool kAhead = Chunks <= 4;  // registers for the query and for loads ahead
  static constexpr int kBlocks = kAhead ? 2 : 1;
  static constexpr int kKeys = 16 * kBlocks;
  uint4 keys[kBlocks][2][Chunks];
  uint4 values[kBlocks][4][kPairs];
};

// Dynamic shared memory of a block.
template <class T, int Chunks>
struct Memory {
  static constexpr int kWidth = Tile<Chunks>::kWidth;
  NewRows<T, kWidth> fresh;
  Findings<kWidth> found[kSplitWarps];
  ClusterFindings<kWidth> received;
};

// Where a row is. A padding row has position -1.
struct Place {
  int position = -1, sequence = 0, slot = 0;

  __device__ bool operator==(const Place& other) const {
    return position == other.position && sequence == other.sequence && slot == other.slot;
  }
};

__device__ __forceinline__ Place read_place(const Problem& problem, const Append& append, int row) {
  const Place place{.position = __ldcg(problem.positions + row),
                    .sequence = __ldcg(problem.sequences + row),
                    .slot = __ldcg(append.slots + row)};
  return append.is_known(problem, place.position, place.sequence, place.slot) ? place : Place{};
}

// Each lane looks up a key of a tile (lanes 16 to 31 that of another lane when there are but 16). Keys
// past the last stored one are never used.
template <class TileOf>
__device__ __forceinline__ uint32_t look_up(const Problem& problem, const Heads& heads,
                                            const Place& place, int tile, bool past_l1 = false) {
  const int key = min(tile * TileOf::kKeys + static_cast<int>(threadIdx.x) % TileOf::kKeys,
                      max(place.position - 1, 0));
  return problem.cache_row(place.sequence, heads.kv_head, key, past_l1);
}

// Brings a lane's key and value of a tile into L2. The kernel before may be changing the table or the
// positions: whatever was read names rows inside the caches, and no result depends on it.
template <class TileOf>
__device__ __forceinline__ void prefetch(const Problem& problem, uint32_t cache_row) {
#if __CUDA_ARCH__ >= 900
  const int64_t row_bytes = int64_t{problem.dim} * 2;
  const int64_t at = cache_row * row_bytes;
  for (int64_t offset = 0; offset < row_bytes; offset += 128) {
    const char* key = static_cast<const char*>(problem.key_cache) + at + offset;
    const char* value = static_cast<const char*>(problem.value_cache) + at + offset;
    asm volatile("prefetch.global.L2 [%0];" ::"l"(key));
    asm volatile("prefetch.global.L2 [%0];" ::"l"(value));
  }
#endif
}

// Attention of some heads over the tiles of this block, the findings of each warp into shared memory.
// By all threads of the block; ends without a barrier. first_rows is the look-up of the first tile. Returns
// false, having found nothing, when that or place turned out to be out of date: then both have been
// corrected.
template <class T, int Chunks>
__device__ bool attend(const Problem& problem, const Append& append, const Splits& splits,
                       const Heads& heads, Place& place, uint32_t& first_rows,
                       Memory<T, Chunks>& memory) {
  using TileOf = Tile<Chunks>;
  constexpr int kPairs = TileOf::kPairs, kBlocks = TileOf::kBlocks;
  constexpr bool kAhead = TileOf::kAhead;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int group = lane / 4, member = lane % 4;
  const int head_chunks = problem.dim / 8;  // 16-byte chunks of a row
  const int position = place.position, tiles = position / TileOf::kKeys + 1;
  const int step = splits.count * kSplitWarps;
  auto& fresh = memory.fresh;
  int tile = blockIdx.x * kSplitWarps + warp;

  // Fragments hold 8 consecutive elements a lane: the order of a sum's terms is free, as long as
  // both factors use the same one.
  const T* key_cache = static_cast<const T*>(problem.key_cache);
  const T* value_cache = static_cast<const T*>(problem.value_cache);
  TileOf tile_data;
  const auto load_keys = [&](uint32_t rows) {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const uint32_t cache_row = __shfl_sync(kFullWarp, rows, 16 * b + 8 * half + group);
        const T* from = key_cache + static_cast<int64_t>(cache_row) * problem.dim;
#pragma unroll
        for (int i = 0; i < Chunks; ++i) {
          const int chunk = member + 4 * i;
          const bool read = chunk < head_chunks;
          tile_data.keys[b][half][i] = read ? load_streamed(from + chunk * 8) : uint4{};
        }
      }
    }
  };
  const auto load_values = [&](uint32_t rows, int first_pair, int end_pair) {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
      for (int key = 0; key < 4; ++key) {
        const int in_tile = 16 * b + 2 * member + key % 2 + 8 * (key / 2);
        const uint32_t cache_row = __shfl_sync(kFullWarp, rows, in_tile);
        const T* from = value_cache + static_cast<int64_t>(cache_row) * problem.dim;
#pragma unroll
        for (int j = first_pair; j < end_pair; ++j) {
          const int chunk = group + 8 * j;
          const bool read = chunk < head_chunks;
          tile_data.values[b][key][j] = read ? load_streamed(from + chunk * 8) : uint4{};
        }
      }
    }
  };

  uint32_t rows = first_rows;
  if (tile < tiles) {
    load_keys(rows);
    if constexpr (kAhead) load_values(rows, 0, kPairs);
  }
  const Place now = read_place(problem, append, heads.row);
  const uint32_t rows_now = look_up<TileOf>(problem, heads, place, tile);
  fresh.load(problem, append, heads, position);
  if (__syncthreads_or(!(now == place) || rows_now != rows)) {
    place = now;
    first_rows = look_up<TileOf>(problem, heads, place, tile);
    return false;
  }

  const auto shared_chunk = [](const T* row, int chunk) {
    return *reinterpret_cast<const uint4*>(row + chunk * 8);
  };
  const auto load_query = [&](int i) {
    return group < heads.count ? shared_chunk(fresh.queries[group], member + 4 * i) : uint4{};
  };
  uint4 held[kAhead ? Chunks : 1];
  if constexpr (kAhead) {
#pragma unroll
    for (int i = 0; i < Chunks; ++i) held[i] = load_query(i);
  }

  // Columns 2 * member and 2 * member + 1 of the tile are this lane's heads. Its part of the output
  // is 8 consecutive elements of each: sums[j][t] covers elements 2t and 2t + 1.
  constexpr float kNone = -INFINITY;
  float largest[2] = {kNone, kNone}, weight_sum[2] = {0.0f, 0.0f};
  float sums[kPairs][4][4] = {};
  while (tile < tiles) {
    const bool last = tile == tiles - 1;
    const int first_key = tile * TileOf::kKeys;
    if (last) {
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          if (first_key + 16 * b + 8 * half + group < position) continue;
#pragma unroll
          for (int i = 0; i < Chunks; ++i) {
            tile_data.keys[b][half][i] = shared_chunk(fresh.key, member + 4 * i);
          }
        }
      }
    }
    const int next = tile + step;
    const uint32_t next_rows = next < tiles ? look_up<TileOf>(problem, heads, place, next) : 0;

    // Keys group (0, 1) and group + 8 (2, 3) of a block, for both heads; in two parts, since two
    // chains of products are faster than one.
    float score[kBlocks][4] = {}, score_too[kBlocks][4] = {};
#pragma unroll
    for (int i = 0; i < Chunks; ++i) {
      const uint4 q = kAhead ? held[kAhead ? i : 0] : load_query(i);
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
        const uint4 low = tile_data.keys[b][0][i], high = tile_data.keys[b][1][i];
        Mma<T>::multiply(score[b], low.x, high.x, low.y, high.y, q.x, q.y);
        Mma<T>::multiply(score_too[b], low.z, high.z, low.w, high.w, q.z, q.w);
      }
    }
    if constexpr (!kAhead) load_values(rows, 0, kPairs / 2);
    if (kAhead && next < tiles) load_keys(next_rows);

    float shrink[2];
#pragma unroll
    for (int head = 0; head < 2; ++head) {
      float top = kNone;
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float& s = score[b][2 * half + head];
          const int key = first_key + 16 * b + 8 * half + group;
          s = (s + score_too[b][2 * half + head]) * problem.scale_log2;
          if (key > position) s = kNone;
          top = fmaxf(top, s);
        }
      }
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) {
        top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, offset));
      }
      top = fmaxf(top, largest[head]);
      shrink[head] = power_of_two(largest[head] - top);
      largest[head] = top;
      weight_sum[head] *= shrink[head];
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float& s = score[b][2 * half + head];
          s = power_of_two(s - top);
          weight_sum[head] += s;
        }
      }
    }
    uint32_t weights[kBlocks][2];
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      weights[b][0] = transpose(pack<T>(score[b][0], score[b][1]));
      weights[b][1] = transpose(pack<T>(score[b][2], score[b][3]));
    }
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      if (!kAhead && j == kPairs / 2) load_values(rows, kPairs / 2, kPairs);
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
        if (last) {
#pragma unroll
          for (int key = 0; key < 4; ++key) {
            const int in_tile = 16 * b + 2 * member + key % 2 + 8 * (key / 2);
            if (first_key + in_tile < position) continue;
            tile_data.values[b][key][j] = shared_chunk(fresh.value, group + 8 * j);
          }
        }
#pragma unroll
        for (int t = 0; t < 4; ++t) {
          const auto word = [&](int key) {
            const uint4& v = tile_data.values[b][key][j];
            return t == 0 ? v.x : t == 1 ? v.y : t == 2 ? v.z : v.w;
          };
          float(&sum)[4] = sums[j][t];
          if (b == 0) {
            sum[0] *= shrink[0];
            sum[1] *= shrink[1];
            sum[2] *= shrink[0];
            sum[3] *= shrink[1];
          }
          Mma<T>::multiply(sum, __byte_perm(word(0), word(1), 0x5410),
                           __byte_perm(word(0), word(1), 0x7632),
                           __byte_perm(word(2), word(3), 0x5410),
                           __byte_perm(word(2), word(3), 0x7632), weights[b][0], weights[b][1]);
        }
      }
    }
    if (next < tiles) {
      if constexpr (kAhead) {
        load_values(next_rows, 0, kPairs);
      } else {
        load_keys(next_rows);
      }
    }
    rows = next_rows;
    tile = next;
  }

  auto& found = memory.found[warp];
#pragma unroll
  for (int head = 0; head < 2; ++head) {
#pragma unroll
    for (int offset = 4; offset < 32; offset *= 2) {
      weight_sum[head] += __shfl_xor_sync(kFullWarp, weight_sum[head], offset);
    }
    const int column = 2 * member + head;
    if (column >= heads.count) continue;
    if (group == 0) found.sums[column] = {largest[head], weight_sum[head]};
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
#pragma unroll
      for (int t = 0; t < 4; ++t) {
        float* to = &found.values[column][64 * j + 8 * group + 2 * t];
        to[0] = sums[j][t][head];
        to[1] = sums[j][t][head + 2];
      }
    }
  }
  return true;
}

}  // namespace fewbit::cuda::attention
