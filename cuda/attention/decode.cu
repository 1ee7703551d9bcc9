// Flash-decoding: the keys of a row are split over blocks, and a second kernel joins what they
// found. The grid depends on the batch alone; how many splits a row really uses is read on the
// device. Transposed products (K q^T, V^T p^T) put up to 8 query heads of one key-value head into
// the columns of an m16n8k16 tile, so K and V go from memory straight into fragments, once.
#include <algorithm>
#include <type_traits>

#include "../common/reduce.cuh"
#include "fragment.cuh"
#include "problem.cuh"
#include "splits.cuh"

namespace fewbit::cuda::attention {

namespace {

template <class T, int Chunks>
struct Tile {
  static constexpr int kPairs = (Chunks + 1) / 2;  // 64-element chunks of a value row
  uint4 keys[2][Chunks];
  uint4 values[4][kPairs];
};

// Brings a warp's first tile into L2 while the kernel before still runs (later tiles gain nothing
// from it). That kernel may be changing the positions or the table: whatever is read here, past L1,
// names rows inside the caches, and no result depends on it.
__device__ __forceinline__ void prefetch_tile(const Problem& problem, int splits, int kv_head) {
#if __CUDA_ARCH__ >= 900
  const int row = blockIdx.z, lane = threadIdx.x % 32;
  const int sequence = __ldcg(problem.sequences + row), position = __ldcg(problem.positions + row);
  if (position < 0 || sequence < 0 || sequence >= problem.table_rows) return;
  const int tiles = position / kTileKeys + 1;
  const int tile = blockIdx.x * tiles_per_split(tiles, splits) + threadIdx.x / 32;
  if (tile >= tiles) return;
  const int key = min(tile * kTileKeys + lane % kTileKeys, position);
  const char* cache = static_cast<const char*>(lane < 16 ? problem.key_cache : problem.value_cache);
  const int64_t row_bytes = int64_t{problem.dim} * 2;
  const char* from = cache + problem.cache_row(sequence, kv_head, key, true) * row_bytes;
  for (int64_t offset = 0; offset < row_bytes; offset += 128) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(from + offset));
  }
#endif
}

template <class T, int Chunks>
__global__ void __launch_bounds__(kSplitThreads, Chunks <= 4 ? 3 : 2)
    decode_kernel(const Problem problem, const Splits splits) {
  using TileOf = Tile<T, Chunks>;
  constexpr int kPairs = TileOf::kPairs;
  constexpr int kWidth = kPairs * 64;
  constexpr bool kAhead = Chunks <= 4;  // registers for the query and for loads ahead
  __shared__ float warp_values[kSplitWarps][kTileHeads][kWidth];
  __shared__ SplitSum warp_sums[kSplitWarps][kTileHeads];

  const int split = blockIdx.x, row = blockIdx.z;
  const int kv_head = blockIdx.y % problem.kv_heads;
  const int head_in_group = blockIdx.y / problem.kv_heads * kTileHeads;
  const int heads = min(problem.group - head_in_group, kTileHeads);
  const int first_head = kv_head * problem.group + head_in_group;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int group = lane / 4, member = lane % 4;
  const int head_chunks = problem.dim / 8;  // 16-byte chunks of a row

  prefetch_tile(problem, splits.count, kv_head);
  wait_for_predecessor();
  start_successor();
  const int position = problem.position_of(row);
  if (position < 0) {
    if (split > 0 || splits.count > 1) return;  // the joining kernel writes the zeros
    for (int i = threadIdx.x; i < heads * problem.dim; i += kSplitThreads) {
      problem.result<T>(row, first_head)[i] = from_float<T>(0.0f);
    }
    return;
  }
  const int sequence = problem.sequences[row];
  const int tiles = position / kTileKeys + 1;
  const int share = tiles_per_split(tiles, splits.count);
  const int tile_end = min((split + 1) * share, tiles);
  if (split * share >= tiles) return;

  // Fragments hold 8 consecutive elements a lane: the order of a sum's terms is free, as long as
  // both factors use the same one.
  const T* query = problem.query<T>(row, first_head + min(group, heads - 1));
  const auto load_query = [&](int i) {
    const int chunk = member + 4 * i;
    const bool read = group < heads && chunk < head_chunks;
    return read ? *reinterpret_cast<const uint4*>(query + chunk * 8) : uint4{};
  };
  uint4 held[kAhead ? Chunks : 1];
  if constexpr (kAhead) {
#pragma unroll
    for (int i = 0; i < Chunks; ++i) held[i] = load_query(i);
  }

  // Lanes 0 to 15 look up the 16 keys of a tile; lanes 16 to 31 do the same once more.
  const auto look_up = [&](int tile) {
    const int key = min(tile * kTileKeys + lane % kTileKeys, position);
    return problem.cache_row(sequence, kv_head, key);
  };
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

  // Columns 2 * member and 2 * member + 1 of the tile are this lane's heads. Its part of the output
  // is 8 consecutive elements of each: sums[j][t] covers elements 2t and 2t + 1.
  constexpr float kNone = -INFINITY;
  float largest[2] = {kNone, kNone}, weight_sum[2] = {0.0f, 0.0f};
  float sums[kPairs][4][4] = {};
  int tile = split * share + warp;
  uint32_t rows = 0;
  if (tile < tile_end) {
    rows = look_up(tile);
    load_keys(rows);
  }
  while (tile < tile_end) {
    if constexpr (kAhead) load_values(rows, 0, kPairs);
    const int next = tile + kSplitWarps;
    const uint32_t next_rows = next < tile_end ? look_up(next) : 0;

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
    if (kAhead && next < tile_end) load_keys(next_rows);

    float shrink[2];
#pragma unroll
    for (int head = 0; head < 2; ++head) {
      float& low = score[head];
      float& high = score[head + 2];
      const int key = tile * kTileKeys + group;
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
    if (!kAhead && next < tile_end) load_keys(next_rows);
    rows = next_rows;
    tile = next;
  }

  // Join the warps.
#pragma unroll
  for (int head = 0; head < 2; ++head) {
#pragma unroll
    for (int offset = 4; offset < 32; offset *= 2) {
      weight_sum[head] += __shfl_xor_sync(kFullWarp, weight_sum[head], offset);
    }
    const int column = 2 * member + head;
    if (column >= heads) continue;
    if (group == 0) warp_sums[warp][column] = {largest[head], weight_sum[head]};
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
#pragma unroll
      for (int t = 0; t < 4; ++t) {
        float* to = &warp_values[warp][column][64 * j + 8 * group + 2 * t];
        to[0] = sums[j][t][head];
        to[1] = sums[j][t][head + 2];
      }
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < heads * problem.dim; i += kSplitThreads) {
    const int head = i / problem.dim, element = i % problem.dim;
    SplitSum joined = warp_sums[0][head];
#pragma unroll
    for (int w = 1; w < kSplitWarps; ++w) {
      joined.largest = fmaxf(joined.largest, warp_sums[w][head].largest);
    }
    joined.sum = 0.0f;
    float value = 0.0f;
#pragma unroll
    for (int w = 0; w < kSplitWarps; ++w) {
      const float factor = power_of_two(warp_sums[w][head].largest - joined.largest);
      joined.sum += factor * warp_sums[w][head].sum;
      value += factor * warp_values[w][head][element];
    }
    if (splits.count == 1) {
      problem.result<T>(row, first_head + head)[element] = from_float<T>(value / joined.sum);
      continue;
    }
    const int64_t index =
        (static_cast<int64_t>(row) * problem.query_heads + first_head + head) * splits.count +
        split;
    if (element == 0) splits.sums[index] = joined;
    splits.values[index * problem.dim + element] = value;
  }
}

// Blocks that fit the device at once, shared out evenly; at least 4 a row and head when the table
// is that long, so that one long sequence among short ones does not hold up the rest.
int split_count(const Problem& problem, const Context& context) {
  const int64_t head_tiles = (problem.group + kTileHeads - 1) / kTileHeads;
  const int64_t units = problem.rows * problem.kv_heads * head_tiles;
  const int64_t resident = 3 * int64_t{context.properties.multiProcessorCount};
  const int64_t most_keys = int64_t{problem.table_columns} * problem.page_size;
  const int64_t useful = (most_keys + kTileKeys * kSplitWarps - 1) / (kTileKeys * kSplitWarps);
  const int64_t wanted = std::clamp<int64_t>(resident / std::max<int64_t>(units, 1), 4, kMaxSplits);
  return static_cast<int>(std::clamp<int64_t>(useful, 1, wanted));
}

size_t sums_bytes(const Problem& problem, int splits) {
  const size_t bytes = sizeof(SplitSum) * problem.rows * problem.query_heads * splits;
  return (bytes + 255) / 256 * 256;
}

}  // namespace

size_t decode_workspace(const Problem& problem, const Context& context) {
  const int splits = split_count(problem, context);
  if (splits == 1) return 0;
  const size_t values = sizeof(float) * problem.rows * problem.query_heads * splits * problem.dim;
  return sums_bytes(problem, splits) + values;
}

void run_decode(const Problem& problem, Context& context, void* workspace) {
  const int count = split_count(problem, context);
  char* bytes = static_cast<char*>(workspace);
  const Splits splits{count, reinterpret_cast<SplitSum*>(bytes),
                      reinterpret_cast<float*>(bytes + sums_bytes(problem, count))};
  const unsigned head_tiles = (problem.group + kTileHeads - 1) / kTileHeads;
  const unsigned rows = problem.rows;
  const Launch split_launch{.name = "attention (decode)",
                            .grid = dim3(count, problem.kv_heads * head_tiles, rows),
                            .block = dim3(kSplitThreads),
                            .overlap = true};
  const Launch join_launch{.name = "attention (join)",
                           .grid = dim3(problem.query_heads, rows),
                           .block = dim3(kSplitThreads),
                           .overlap = true};
  with_half(problem.dtype, "attention: q", [&](auto zero) {
    using T = decltype(zero);
    with_chunks(problem.dim, [&](auto chunks) {
      launch(split_launch, context, decode_kernel<T, chunks()>, problem, splits);
    });
    if (count > 1) launch(join_launch, context, join_kernel<T>, problem, splits);
  });
}

}  // namespace fewbit::cuda::attention
