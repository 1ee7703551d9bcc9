// How bulk_matmul is laid out for a product, and its launch.
#pragma once

#include <algorithm>
#include <cstdlib>

#include "../common/launch.h"
#include "bulk_matmul.cuh"

namespace fewbit::cuda::bitnet {

constexpr int64_t kMaxSharedBytes = 224 * 1024;
// Two of these fit a multiprocessor: the next product's weights are then on their way early.
constexpr int64_t kHalfSharedBytes = 112 * 1024;
constexpr int kMinStages = 3;  // fewer would leave the memory system idle between stages

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline int64_t blocks_of(const Product& p, const Context& context) {
  return std::min<int64_t>(context.properties.multiProcessorCount, divide_up(p.columns, 8));
}

// Rows of W of a block.
inline int64_t share_of(const Product& p, const Context& context) {
  return divide_up(p.columns, blocks_of(p, context));
}

// The rows of a stage are spaced by an odd multiple of 64 bytes: the 64-byte pieces of two
// neighbours, which are read together, then lie in different banks.
inline int piece_of() {
  const char* f = std::getenv("FEWBIT_B2_PIECE");
  return f ? std::atoi(f) : 0;
}
inline int64_t pitch_of(const Product& p) {
  if (piece_of()) return p.row_bytes();
  return (p.row_bytes() + 63) / 128 * 128 + 64;
}

// source_bytes: shared memory of the source.
template <class Source, int StageRows, int Groups, int Teams>
struct BulkLayout {
  using Shape = BulkShape<StageRows, Groups, Teams>;

  static int64_t terms_bytes(const Product& p, const Context& context) {
    return divide_up(share_of(p, context) * static_cast<int64_t>(sizeof(ColumnTerm)), 16) * 16;
  }
  // Stages within so much shared memory.
  static int64_t stages(const Product& p, const Context& context, int64_t bytes) {
    const int64_t room = bytes - Shape::kHeaderBytes - terms_bytes(p, context);
    const int64_t fitting = std::min<int64_t>(room / (StageRows * pitch_of(p)), kMaxStages);
    const int64_t needed = divide_up(share_of(p, context), StageRows);
    return fitting >= needed ? needed : fitting / Teams * Teams;
  }
  static bool fits(const Product& p, const Context& context, int64_t bytes) {
    const int64_t found = stages(p, context, bytes);
    return found >= kMinStages || (found > 0 && found * StageRows >= share_of(p, context));
  }
  static bool try_launch(const Product& p, const Source& source, int64_t source_bytes,
                         int64_t bytes, Context& context) {
    const int64_t room = bytes - source_bytes;
    if (!fits(p, context, room)) return false;
    const BulkPlan plan{static_cast<int>(stages(p, context, room)), static_cast<int>(pitch_of(p)),
                        static_cast<int>(terms_bytes(p, context)), piece_of()};
    const auto kernel = bulk_matmul<Source, StageRows, Groups, Teams>;
    if (!std::getenv("FEWBIT_B2_NOCARVE")) {
      // The same for all kernels around: blocks of different ones then run side by side.
      check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                 cudaSharedmemCarveoutMaxShared),
            "linear_bitnet");
    }
    Launch config;
    config.name = "linear_bitnet";
    config.grid = dim3(static_cast<unsigned>(blocks_of(p, context)));
    config.block = dim3(kBulkThreads);
    config.shared_bytes =
        static_cast<size_t>(Shape::kHeaderBytes + plan.stages * StageRows * plan.pitch +
                            plan.terms_bytes + source_bytes);
    config.overlap = true;
    launch(config, context, kernel, p, source, plan);
    return true;
  }
};

// False when nothing fits.
template <int Groups, class Source>
bool launch_bulk(const Product& p, const Source& source, int64_t source_bytes, Context& context) {
  const int64_t share = share_of(p, context);
  const char* f = std::getenv("FEWBIT_B2_VARIANT");
  const int v = f ? std::atoi(f) : -1;
  const int64_t forced = v >= 100 ? kHalfSharedBytes : kMaxSharedBytes;
  if (v >= 0) {
    switch (v % 100) {
      case 0:
        return BulkLayout<Source, 32, Groups, 1>::try_launch(p, source, source_bytes, forced,
                                                             context);
      case 1:
        return BulkLayout<Source, 32, Groups, 2>::try_launch(p, source, source_bytes, forced,
                                                             context);
      case 2:
        return BulkLayout<Source, 16, Groups, 2>::try_launch(p, source, source_bytes, forced,
                                                             context);
      case 3:
        return BulkLayout<Source, 16, Groups, 4>::try_launch(p, source, source_bytes, forced,
                                                             context);
      case 4:
        return BulkLayout<Source, 8, Groups, 1>::try_launch(p, source, source_bytes, forced,
                                                            context);
    }
    return false;
  }
  for (const int64_t bytes : {kHalfSharedBytes, kMaxSharedBytes}) {
    if (share <= 32 &&
        BulkLayout<Source, 32, Groups, 1>::try_launch(p, source, source_bytes, bytes, context)) {
      return true;
    }
    if (BulkLayout<Source, 16, Groups, 4>::try_launch(p, source, source_bytes, bytes, context) ||
        BulkLayout<Source, 16, Groups, 2>::try_launch(p, source, source_bytes, bytes, context)) {
      return true;
    }
  }
  return BulkLayout<Source, 8, Groups, 1>::try_launch(p, source, source_bytes, kMaxSharedBytes,
                                                      context);
}

}  // namespace fewbit::cuda::bitnet
