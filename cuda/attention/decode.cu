// Flash-decoding: the keys of a row are split over blocks, which join what they found. The grid
// depends on the batch alone; how many splits a row really uses is read on the device. Transposed
// products (K q^T, V^T p^T) put up to 8 query heads of one key-value head into the columns of an
// m16n8k16 tile, so K and V are read once for all of them. The newest key and value are not in the
// cache yet: one block puts them there, and the warp that treats their tile takes them from shared
// memory.
//
// At small batches it is latency that counts. So a warp finds out where its first tiles lie and has
// them brought into L2 while the kernel before still runs.
#include <algorithm>
#include <bit>

#include "../common/zeroed.h"
#include "decode_rows.cuh"
#include "problem.cuh"

namespace fewbit::cuda::attention {

namespace {

// Blocks on a multiprocessor that registers must suffice for: one leaves room for the kernels before
// and after.
constexpr int resident_blocks(int chunks) { return chunks <= 4 ? 4 : 2; }

template <class T, int Chunks>
__global__ void __launch_bounds__(kSplitThreads, resident_blocks(Chunks))
    decode_kernel(const Problem problem, const Append append, const Splits splits) {
  constexpr int kWidth = Tile<T, Chunks>::kWidth, kKeys = Tile<T, Chunks>::kKeys;
  extern __shared__ __align__(16) unsigned char shared[];
  auto& memory = *reinterpret_cast<Memory<T, Chunks>*>(shared);
  const int kv_head = blockIdx.y % problem.kv_heads;
  const int head_tile = blockIdx.y / problem.kv_heads * kTileHeads;  // in its group
  const Heads heads{.row = static_cast<int>(blockIdx.z),
                    .kv_head = kv_head,
                    .first = kv_head * problem.group + head_tile,
                    .count = min(problem.group - head_tile, kTileHeads)};
  const int split = blockIdx.x, warp = threadIdx.x / 32;
  const int first_tile = split * kSplitWarps + warp, step = splits.count * kSplitWarps;
  const bool in_cluster = splits.count > 1 && !splits.sums;
#if __CUDA_ARCH__ >= 900
  if (in_cluster) {
    memory.join.prepare();
    hopper::cluster_arrive_relaxed();
  }
#endif
  start_successor();
  TileRing<T, Chunks>::prepare(memory.arrived[warp], splits.stages);
  // The kernel before may be changing all of this: whatever is read names rows inside the caches,
  // and no result depends on it.
  const Place guess = read_place(problem, append, heads.row);
  TileRing<T, Chunks>::prefetch(problem, heads, guess, first_tile, step, splits.stages);
  append.prefetch_angles(problem, guess.position);
  wait_for_predecessor();

  typename NewRows<T, kWidth>::Parts parts;
  parts.load(problem, append, heads);
  const Place place = read_place(problem, append, heads.row);
  if (place.position < 0) {
    if (split > 0) return;
    for (int i = threadIdx.x; i < heads.count * problem.dim; i += kSplitThreads) {
      problem.result<T>(heads.row, heads.first)[i] = from_float<T>(0.0f);
    }
    return;
  }
  const int tiles = place.position / kKeys + 1, active = splits.active(tiles);
  const bool is_active = split < active;
  if (is_active) {
    TileRing<T, Chunks> ring(problem, heads, place, first_tile, step,
                             memory.tiles(warp, splits.stages), memory.arrived[warp],
                             splits.stages);
    memory.fresh.take(parts, problem, append, heads, place.position);
    __syncthreads();
    attend<T, Chunks>(problem, splits, heads, place.position, ring, first_tile, memory);
    __syncthreads();
  }
  const auto of = [&](int warp) -> const auto& { return memory.found(warp, splits.stages); };
  if (in_cluster) {
#if __CUDA_ARCH__ >= 900
    memory.join.template finish<T>(problem, splits, heads, active, of);
#endif
  } else if (is_active) {
    join_in_workspace<T, kWidth>(problem, splits, heads, active, of);
  }
  const int last_split = (tiles - 1) / kSplitWarps % splits.count;
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
// gain); at least one for 1024 keys that the table has room for, up to 4, so that one long sequence
// among short ones does not hold up the rest.
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
  const auto wanted = static_cast<uint64_t>(std::clamp(resident / units, least, most));
  if (!cluster) return static_cast<int>(std::clamp<uint64_t>(useful, 1, wanted));
  return static_cast<int>(
      std::min(std::bit_ceil(static_cast<uint64_t>(useful)), std::bit_floor(wanted)));
}

// As many tiles under way as leave room for a second block on a multiprocessor, if that is two, or
// else as fit at all.
int stage_count(const Context& context, int64_t block_bytes, int64_t stage_bytes) {
  constexpr size_t kReserved = 1024;  // of every block
  const cudaDeviceProp& device = context.properties;
  const auto stages = [&](size_t bytes) {
    const int64_t fitting = (static_cast<int64_t>(bytes) - block_bytes) / stage_bytes;
    return static_cast<int>(std::clamp<int64_t>(fitting, 1, kMaxStages));
  };
  const int shared = stages(device.sharedMemPerMultiprocessor / 2 - kReserved);
  return shared >= 2 ? shared : stages(device.sharedMemPerBlockOptin);
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
  // The least power of two from 4 on whose multiples cover a head.
  const int share = std::max((problem.dim + splits.count - 1) / splits.count, 4);
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
      constexpr size_t kBlock = sizeof(Memory<T, chunks()>);
      constexpr size_t kStage = kSplitWarps * sizeof(Tile<T, chunks()>);
      splits.stages = stage_count(context, kBlock, kStage);
      config.shared_bytes = kBlock + kSplitWarps * Memory<T, chunks()>::warp_bytes(splits.stages);
      if (config.cluster > 8) {
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
              config.name);
      }
      launch(config, context, kernel, problem, append, splits);
    });
  });
}

}  // namespace fewbit::cuda::attention
