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

#include "../common/zeroed.h"
#include "decode_rows.cuh"
#include "problem.cuh"
#include "splits.cuh"

namespace fewbit::cuda::attention {

namespace {

constexpr int kResidentBlocks = 2;  // on a multiprocessor

template <class T, int Chunks>
__global__ void __launch_bounds__(kSplitThreads, kResidentBlocks)
    decode_kernel(const Problem problem, const Append append, const Splits splits) {
  using TileOf = Tile<Chunks>;
  constexpr int kWidth = TileOf::kWidth, kKeys = TileOf::kKeys;
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
  // One thread reads for all, since what it reads may be changing.
  __shared__ Place guess;
  if (threadIdx.x == 0) guess = read_place(problem, append, heads.row);
  __syncthreads();
  Place place = guess;
  uint32_t rows = look_up<TileOf>(problem, heads, place, tile, true);
  if (tile * kKeys <= place.position) prefetch<TileOf>(problem, rows);
  const int second = tile + splits.count * kSplitWarps;
  if (second * kKeys <= place.position) {
    prefetch<TileOf>(problem, look_up<TileOf>(problem, heads, place, second, true));
  }
  wait_for_predecessor();

  int active;
  bool is_active;
  for (;;) {
    active = splits.active(place.position / kKeys + 1);
    is_active = place.position >= 0 && split < active;
    if (is_active) {
      if (attend<T, Chunks>(problem, append, splits, heads, place, rows, memory)) break;
      continue;
    }
    // Nothing to do here, if that is still so.
    const Place now = read_place(problem, append, heads.row);
    if (now == place) break;
    place = now;
    rows = look_up<TileOf>(problem, heads, place, tile);
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
  const int last_split = place.position / kKeys / kSplitWarps % splits.count;
  if (split == last_split && heads.first % problem.group == 0) {
    memory.fresh.store(problem, heads, place.slot);
  }
}

bool joins_in_cluster(const Context& context) { return context.properties.major >= 9; }

int64_t units_of(const Problem& problem) {
  const int64_t head_tiles = (problem.group + kTileHeads - 1) / kTileHeads;
  return problem.rows * problem.kv_heads * head_tiles;
}

// Enough splits that every multiprocessor has a block (more of them lose more in the join than they
// gain); at least one for 1024 keys that the table has
// room for, up to 4, so that one long sequence among short ones does not hold up the rest.
int split_count(const Problem& problem, const Context& context) {
  constexpr int64_t kSplitKeys = 16 * kSplitWarps;  // fewer are not worth a block
  const int64_t units = std::max<int64_t>(units_of(problem), 1);
  const bool cluster = joins_in_cluster(context);
  if (!cluster && units > static_cast<int64_t>(Zeroed::kWords)) return 1;
  const int64_t resident = context.properties.multiProcessorCount;
  const int64_t most_keys = int64_t{problem.table_columns} * problem.page_size;
  const int64_t useful = (most_keys + kSplitKeys - 1) / kSplitKeys;
  const int64_t least = std::clamp<int64_t>(most_keys / 1024, 1, 4);
  // More than 8 blocks of a cluster are no promise of the architecture, but H100 and B200 have them.
  const int64_t most = !cluster ? kMaxSplits : context.properties.major <= 10 ? kMaxCluster : 8;
  const int64_t wanted = std::clamp(resident / units, least, most);
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
