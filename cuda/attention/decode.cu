// Flash-decoding: the keys of a row are split over blocks, which join what they found. The grid
// depends on the batch alone; how many splits a row really uses is read on the device. Transposed
// products (K q^T, V^T p^T) put up to 8 query heads of one key-value head into the columns of an
// m16n8k16 tile, so K and V go from memory straight into fragments, once. The newest key and value
// are not in the cache yet: one block puts them there, and the warp that treats their tile takes them
// from shared memory.
//
// At small batches it is latency that counts. So a warp finds out where its first tile lies while the
// kernel before still runs, starts loading as soon as that has ended, and checks meanwhile whether
// what it went by still holds.
#include <algorithm>
#include <bit>
#include <type_traits>

#include "../common/reduce.cuh"
#include "../common/zeroed.h"
#include "fragment.cuh"
#include "new_rows.cuh"
#include "problem.cuh"
#include "splits.cuh"

namespace fewbit::cuda::attention {

namespace {

template <int Chunks>
struct Tile {
  static constexpr int kPairs = (Chunks + 1) / 2;  // 64-element chunks of a value row
  static constexpr int kWidth = kPairs * 64;
  static constexpr bool kAhead = Chunks <= 4;  // registers for the query and for loads ahead
  uint4 keys[2][Chunks];
  uint4 values[4][kPairs];
};

// Dynamic shared memory of a block.
template <class T, int Chunks>
struct Memory {
  static constexpr int kWidth = Tile<Chunks>::kWidth;
  NewRows<T, kWidth> fresh;
  Findings<kWidth> found[kSplitWarps];
  ClusterFindings<kWidth> received;
};

// Where a row is, and the cache row of a lane's key in the first tile of its warp. A padding row has
// position -1.
struct Place {
  int position, sequence, slot;
  uint32_t cache_row;

  __device__ bool operator==(const Place& other) const {
    return position == other.position && sequence == other.sequence && slot == other.slot &&
           cache_row == other.cache_row;
  }
};

// Lanes 0 to 15 look up the 16 keys of a tile; lanes 16 to 31 do the same once more. Keys past the
// last stored one are never used.
__device__ __forceinline__ uint32_t look_up(const Problem& problem, const Heads& heads,
                                            const Place& place, int tile) {
  const int key =
      min(tile * kTileKeys + static_cast<int>(threadIdx.x) % kTileKeys, max(place.position - 1, 0));
  return problem.cache_row(place.sequence, heads.kv_head, key);
}

// Reads the place of a row. The cache row is that of the key that `guess` supposes, so that no load
// waits for another.
__device__ __forceinline__ Place read_place(const Problem& problem, const Append& append,
                                            const Heads& heads, const Place& guess, int tile) {
  Place place{.position = __ldcg(problem.positions + heads.row),
              .sequence = __ldcg(problem.sequences + heads.row),
              .slot = __ldcg(append.slots + heads.row),
              .cache_row = look_up(problem, heads, guess, tile)};
  if (!append.is_known(problem, place.position, place.sequence, place.slot)) {
    place = {.position = -1, .sequence = 0, .slot = 0, .cache_row = place.cache_row};
  }
  return place;
}

// Brings a lane's key and value of a tile into L2. The kernel before may be changing the table or the
// positions: whatever was read names rows inside the caches, and no result depends on it.
__device__ __forceinline__ void prefetch(const Problem& problem, uint32_t cache_row) {
#if __CUDA_ARCH__ >= 900
  const char* cache =
      static_cast<const char*>(threadIdx.x % 32 < 16 ? problem.key_cache : problem.value_cache);
  const int64_t row_bytes = int64_t{problem.dim} * 2;
  for (int64_t offset = 0; offset < row_bytes; offset += 128) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(cache + cache_row * row_bytes + offset));
  }
#endif
}

// Attention of some heads over the tiles of this block, the findings of each warp into shared memory.
// By all threads of the block; ends without a barrier. Returns false, having found nothing, when
// place turned out to be out of date; it has been corrected then.
template <class T, int Chunks>
__device__ bool attend(const Problem& problem, const Append& append, const Splits& splits,
                       const Heads& heads, Place& place, Memory<T, Chunks>& memory) {
  using TileOf = Tile<Chunks>;
  constexpr int kPairs = TileOf::kPairs;
  constexpr bool kAhead = TileOf::kAhead;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int group = lane / 4, member = lane % 4;
  const int head_chunks = problem.dim / 8;  // 16-byte chunks of a row
  const int position = place.position, tiles = position / kTileKeys + 1;
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
    for (int half = 0; half < 2; ++half) {
      const uint32_t cache_row = __shfl_sync(kFullWarp, rows, group + 8 * half);
      const T* from = key_cache + static_cast<int64_t>(cache_row) * problem.dim;
#pragma unroll
      for (int i = 0; i < Chunks; ++i) {
        const int chunk = member + 4 * i;
        tile_data.keys[half][i] = chunk < head_chunks ? load_streamed(from + chunk * 8) : uint4{};
      }
    }
  };
  const auto load_values = [&](uint32_t rows, int first_pair, int end_pair) {
#pragma unroll
    for (int key = 0; key < 4; ++key) {
      const int in_tile = 2 * member + key % 2 + 8 * (key / 2);
      const uint32_t cache_row = __shfl_sync(kFullWarp, rows, in_tile);
      const T* from = value_cache + static_cast<int64_t>(cache_row) * problem.dim;
#pragma unroll
      for (int j = first_pair; j < end_pair; ++j) {
        const int chunk = group + 8 * j;
        tile_data.values[key][j] = chunk < head_chunks ? load_streamed(from + chunk * 8) : uint4{};
      }
    }
  };

  uint32_t rows = place.cache_row;
  if (tile < tiles) {
    load_keys(rows);
    if constexpr (kAhead) load_values(rows, 0, kPairs);
  }
  const Place now = read_place(problem, append, heads, place, tile);
  fresh.load(problem, append, heads, position);
  if (__syncthreads_or(!(now == place))) {
    place = now;
    place.cache_row = look_up(problem, heads, place, tile);
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
    const int first_key = tile * kTileKeys;
    if (last) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (first_key + group + 8 * half < position) continue;
#pragma unroll
        for (int i = 0; i < Chunks; ++i) {
          tile_data.keys[half][i] = shared_chunk(fresh.key, member + 4 * i);
        }
      }
    }
    const int next = tile + step;
    const uint32_t next_rows = next < tiles ? look_up(problem, heads, place, next) : 0;

    float score[4] = {};      // keys group (0, 1) and group + 8 (2, 3), for both heads
    float score_too[4] = {};  // the other half of the sum: two chains of products are faster
#pragma unroll
    for (int i = 0; i < Chunks; ++i) {
      const uint4 a = tile_data.keys[0][i], b = tile_data.keys[1][i];
      const uint4 q = kAhead ? held[kAhead ? i : 0] : load_query(i);
      Mma<T>::multiply(score, a.x, b.x, a.y, b.y, q.x, q.y);
      Mma<T>::multiply(score_too, a.z, b.z, a.w, b.w, q.z, q.w);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) score[i] += score_too[i];
    if constexpr (!kAhead) load_values(rows, 0, kPairs / 2);
    if (kAhead && next < tiles) load_keys(next_rows);

    float shrink[2];
#pragma unroll
    for (int head = 0; head < 2; ++head) {
      float& low = score[head];
      float& high = score[head + 2];
      const int key = first_key + group;
      low = key <= position ? low * problem.scale_log2 : kNone;
      high = key + 8 <= position ? high * problem.scale_log2 : kNone;
      float top = fmaxf(low, high);
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) {
        top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, offset));
      }
      top = fmaxf(top, largest[head]);
      shrink[head] = power_of_two(largest[head] - top);
      largest[head] = top;
      low = power_of_two(low - top);
      high = power_of_two(high - top);
      weight_sum[head] = weight_sum[head] * shrink[head] + low + high;
    }
    const uint32_t weights_low = transpose(pack<T>(score[0], score[1]));
    const uint32_t weights_high = transpose(pack<T>(score[2], score[3]));
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      if (!kAhead && j == kPairs / 2) load_values(rows, kPairs / 2, kPairs);
      if (last) {
#pragma unroll
        for (int key = 0; key < 4; ++key) {
          const int in_tile = 2 * member + key % 2 + 8 * (key / 2);
          if (first_key + in_tile < position) continue;
          tile_data.values[key][j] = shared_chunk(fresh.value, group + 8 * j);
        }
      }
#pragma unroll
      for (int t = 0; t < 4; ++t) {
        const auto word = [&](int key) {
          const uint4& v = tile_data.values[key][j];
          return t == 0 ? v.x : t == 1 ? v.y : t == 2 ? v.z : v.w;
        };
        float(&sum)[4] = sums[j][t];
        sum[0] *= shrink[0];
        sum[1] *= shrink[1];
        sum[2] *= shrink[0];
        sum[3] *= shrink[1];
        Mma<T>::multiply(sum, __byte_perm(word(0), word(1), 0x5410),
                         __byte_perm(word(0), word(1), 0x7632),
                         __byte_perm(word(2), word(3), 0x5410),
                         __byte_perm(word(2), word(3), 0x7632), weights_low, weights_high);
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

template <class T, int Chunks>
__global__ void __launch_bounds__(kSplitThreads, Chunks <= 4 ? 3 : 2)
    decode_kernel(const Problem problem, const Append append, const Splits splits) {
  constexpr int kWidth = Tile<Chunks>::kWidth;
  extern __shared__ __align__(16) unsigned char shared[];
  auto& memory = *reinterpret_cast<Memory<T, Chunks>*>(shared);
  const int kv_head = blockIdx.y % problem.kv_heads;
  const int head_tile = blockIdx.y / problem.kv_heads * kTileHeads;  // in its group
  const Heads heads{.row = static_cast<int>(blockIdx.z),
                    .kv_head = kv_head,
                    .first = kv_head * problem.group + head_tile,
                    .count = min(problem.group - head_tile, kTileHeads)};
  const int split = blockIdx.x, tile = split * kSplitWarps + threadIdx.x / 32;
  const bool in_cluster = splits.count > 1 && !splits.sums;
#if __CUDA_ARCH__ >= 900
  if (in_cluster) hopper::cluster_arrive_relaxed();
#endif
  start_successor();
  const Place none{.position = -1, .sequence = 0, .slot = 0, .cache_row = 0};
  Place place = read_place(problem, append, heads, none, tile);
  place.cache_row = look_up(problem, heads, place, tile);
  if (tile * kTileKeys <= place.position) prefetch(problem, place.cache_row);
  const int second = tile + splits.count * kSplitWarps;
  if (second * kTileKeys <= place.position) {
    prefetch(problem, look_up(problem, heads, place, second));
  }
  wait_for_predecessor();

  int active;
  bool is_active;
  for (;;) {
    active = splits.active(place.position / kTileKeys + 1);
    is_active = place.position >= 0 && split < active;
    if (is_active) {
      if (attend<T, Chunks>(problem, append, splits, heads, place, memory)) break;
      continue;
    }
    // Nothing to do here, if that is still so.
    const Place now = read_place(problem, append, heads, place, tile);
    if (now == place) break;
    place = now;
    place.cache_row = look_up(problem, heads, place, tile);
  }
  if (place.position < 0) {
    if (split > 0) return;
    for (int i = threadIdx.x; i < heads.count * problem.dim; i += kSplitThreads) {
      problem.result<T>(heads.row, heads.first)[i] = from_float<T>(0.0f);
    }
    return;
  }
  if (is_active) __syncthreads();
  const auto of = [&](int warp) -> const auto& { return memory.found[warp]; };
  if (in_cluster) {
    join_in_cluster<T, kWidth>(problem, splits, heads, active, of, memory.received);
  } else if (is_active) {
    join_in_workspace<T, kWidth>(problem, splits, heads, active, of);
  }
  const int last_split = place.position / kTileKeys / kSplitWarps % splits.count;
  if (split == last_split && heads.first % problem.group == 0) {
    memory.fresh.store(problem, heads, place.slot);
  }
}

bool joins_in_cluster(const Context& context) { return context.properties.major >= 9; }

int64_t units_of(const Problem& problem) {
  const int64_t head_tiles = (problem.group + kTileHeads - 1) / kTileHeads;
  return problem.rows * problem.kv_heads * head_tiles;
}

// Enough splits that all blocks fit the device at once; at least 4 a row and head when the table is
// that long, so that one long sequence among short ones does not hold up the rest.
int split_count(const Problem& problem, const Context& context) {
  const int64_t units = units_of(problem);
  const bool cluster = joins_in_cluster(context);
  if (!cluster && units > static_cast<int64_t>(Zeroed::kWords)) return 1;
  const int64_t resident = 3 * int64_t{context.properties.multiProcessorCount};
  const int64_t most_keys = int64_t{problem.table_columns} * problem.page_size;
  const int64_t useful = (most_keys + kTileKeys * kSplitWarps - 1) / (kTileKeys * kSplitWarps);
  // More than 8 blocks of a cluster are no promise of the architecture, but H100 and B200 have them.
  const int most = !cluster ? kMaxSplits : context.properties.major <= 10 ? kMaxCluster : 8;
  const int64_t wanted = std::clamp<int64_t>(resident / std::max<int64_t>(units, 1), 4, most);
  const auto count = static_cast<unsigned>(std::clamp<int64_t>(useful, 1, wanted));
  return static_cast<int>(cluster ? std::bit_floor(count) : count);
}

size_t sums_bytes(const Problem& problem, int splits) {
  const size_t bytes = sizeof(SplitSum) * kTileHeads * units_of(problem) * splits;
  return (bytes + 255) / 256 * 256;
}

}  // namespace

size_t decode_workspace(const Problem& problem, const Context& context) {
  const int splits = split_count(problem, context);
  if (splits == 1 || joins_in_cluster(context)) return 0;
  const size_t values = sizeof(float) * kTileHeads * units_of(problem) * splits * problem.dim;
  return sums_bytes(problem, splits) + values;
}

void run_decode(const Problem& problem, const Append& append, Context& context, void* workspace) {
  Splits splits{};
  splits.count = split_count(problem, context);
  const bool cluster = joins_in_cluster(context);
  if (!cluster) {
    char* bytes = static_cast<char*>(workspace);
    splits.sums = reinterpret_cast<SplitSum*>(bytes);
    splits.values = reinterpret_cast<float*>(bytes + sums_bytes(problem, splits.count));
    splits.arrivals = context.zeroed->words();
  }
  const int head_tiles = (problem.group + kTileHeads - 1) / kTileHeads;
  // The least power of two whose multiples cover a head.
  const int share = (problem.dim + splits.count - 1) / splits.count;
  splits.share = std::bit_width(static_cast<unsigned>(share - 1));
  Launch config{.name = "decode_attention",
                .grid = dim3(splits.count, problem.kv_heads * head_tiles, problem.rows),
                .block = dim3(kSplitThreads),
                .cluster = cluster ? splits.count : 1,
                .overlap = true};
  with_half(problem.dtype, "decode_attention: q", [&](auto zero) {
    using T = decltype(zero);
    with_chunks(problem.dim, [&](auto chunks) {
      const auto kernel = decode_kernel<T, chunks()>;
      config.shared_bytes = sizeof(Memory<T, chunks()>);
      if (config.cluster > 8) {
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
              config.name);
      }
      launch(config, context, kernel, problem, append, splits);
    });
  });
}

}  // namespace fewbit::cuda::attention
