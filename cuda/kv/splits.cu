// How many blocks share a row of a decode step over a cache of few bits.
#include "decode_launch.cuh"

namespace fewbit::cuda::kv {

namespace {

constexpr int kResidentBlocks = 2;  // on a multiprocessor

int64_t units_of(const Problem& problem) {
  return int64_t{problem.rows} * problem.kv_heads * head_tiles_of(problem);
}

bool aligned(const void* data) { return reinterpret_cast<uintptr_t>(data) % 16 == 0; }

}  // namespace

bool fits_decode(const Problem& problem) {
  const int64_t cache_rows = int64_t{problem.pages} * problem.kv_heads * problem.page_size;
  return problem.dtype != DType::F32 &&
         (problem.dim == 64 || problem.dim == 80 || problem.dim == 128) &&
         problem.page_size % kBlockKeys == 0 && cache_rows < (int64_t{1} << 32) &&
         aligned(problem.key_cache) && aligned(problem.value_cache) &&
         aligned(problem.key_scales) && aligned(problem.value_scales);
}

// As many splits as the device holds blocks at a time, of which each warp has at least a tile: blocks
// that have to wait for others cost more than they save.
int split_count(const Problem& problem, const Context& context) {
  const int64_t units = std::max<int64_t>(units_of(problem), 1);
  const bool cluster = joins_in_cluster(context);
  if (!cluster && units > static_cast<int64_t>(Zeroed::kWords)) return 1;
  const int64_t processors = context.properties.multiProcessorCount;
  const int64_t most_keys = int64_t{problem.table_columns} * problem.page_size;
  const int64_t split_keys = int64_t{kTileKeys} * kSplitWarps;
  const int64_t useful = (most_keys + split_keys - 1) / split_keys;
  // More than 8 blocks of a cluster are no promise of the architecture, but H100 and B200 have them.
  const int64_t most = !cluster                         ? attention::kMaxSplits
                       : context.properties.major <= 10 ? attention::kMaxCluster
                                                        : 8;
  const auto fitting = [&](int64_t blocks) {
    const int64_t wanted = std::clamp<int64_t>(blocks / units, 1, most);
    const auto count = static_cast<unsigned>(std::clamp<int64_t>(useful, 1, wanted));
    return static_cast<int>(cluster ? std::bit_floor(count) : count);
  };
  const int count = fitting(kResidentBlocks * processors);
  // Larger clusters do not find their places where other blocks stand.
  return cluster && count > 2 ? std::max(fitting(processors), 2) : count;
}

size_t sums_bytes(const Problem& problem, int splits) {
  const size_t bytes = sizeof(attention::SplitSum) * kTileHeads * units_of(problem) * splits;
  return (bytes + 255) / 256 * 256;
}

size_t decode_workspace(const Problem& problem, const Context& context) {
  const int splits = split_count(problem, context);
  if (splits == 1 || joins_in_cluster(context)) return 0;
  return sums_bytes(problem, splits) +
         sizeof(float) * kTileHeads * units_of(problem) * splits * problem.dim;
}

}  // namespace fewbit::cuda::kv
