// How bulk_matmul is laid out for a product, and its launch.
#pragma once

#include <algorithm>

#include "../common/launch.h"
#include "bulk_matmul.cuh"

namespace fewbit::cuda::bitnet {

constexpr int64_t kMaxSharedBytes = 224 * 1024;
// Two of these fit a multiprocessor: the next product's weights are then on their way early.
constexpr int64_t kHalfSharedBytes = 112 * 1024;
constexpr int kMinStages = 3;  // fewer would leave the memory system idle between stages

inline int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

inline int64_t bulk_blocks(const Product& p, const Context& context) {
  return std::min<int64_t>(context.properties.multiProcessorCount, round_up(p.columns, 8) / 8);
}

// Rows of W of a block.
inline int64_t bulk_share(const Product& p, const Context& context) {
  const int64_t blocks = bulk_blocks(p, context);
  return round_up(p.columns, blocks) / blocks;
}

// Stages that hold all of a block's rows of W.
template <class Source>
int64_t bulk_fills(const Product& p, const Context& context) {
  return round_up(bulk_share(p, context), Source::kStageRows) / Source::kStageRows;
}

// Launches with at most so many bytes of shared memory, or what the GPU has; false when they do not
// suffice.
template <int Teams, class Source>
bool launch_bulk(const Product& p, const Source& source, int64_t source_bytes, int64_t most_bytes,
                 Context& context) {
  using Shape = BulkShape<Source, Teams>;
  const int64_t bytes = std::min<int64_t>(most_bytes, context.properties.sharedMemPerBlockOptin);
  constexpr int kStageRows = Source::kStageRows;
  const int64_t share = bulk_share(p, context), needed = bulk_fills<Source>(p, context);
  const int64_t column_bytes = round_up((p.residual ? 1 + p.rows : 1) * share * 4, 16);
  const int64_t row_stride = spread(p.row_bytes());
  const int64_t others = Shape::kHeaderBytes + column_bytes + source_bytes;
  const int64_t fitting =
      bytes > others ? std::min<int64_t>((bytes - others) / (kStageRows * row_stride), kMaxStages)
                     : 0;
  const int64_t stages = fitting >= needed ? needed : fitting / Teams * Teams;
  if (stages < std::min<int64_t>(needed, kMinStages)) return false;

  const auto kernel = bulk_matmul<Source, Teams>;
  // A multiprocessor runs blocks of two kernels at a time only if both divide its memory alike.
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        "linear_bitnet");
  Launch config;
  config.name = "linear_bitnet";
  config.grid = dim3(static_cast<unsigned>(bulk_blocks(p, context)));
  config.block = dim3(kBulkThreads);
  config.shared_bytes = static_cast<size_t>(others + stages * kStageRows * row_stride);
  config.overlap = true;
  launch(config, context, kernel, p, source,
         BulkPlan{static_cast<int>(stages), static_cast<int>(row_stride),
                  static_cast<int>(column_bytes)});
  return true;
}

// The same in half of a multiprocessor's shared memory if possible, else in all of it.
template <int Teams, class Source>
bool launch_bulk(const Product& p, const Source& source, int64_t source_bytes, Context& context) {
  return launch_bulk<Teams>(p, source, source_bytes, kHalfSharedBytes, context) ||
         launch_bulk<Teams>(p, source, source_bytes, kMaxSharedBytes, context);
}

}  // namespace fewbit::cuda::bitnet
