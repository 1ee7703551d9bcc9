// How fused_matmul's blocks are made up, and how they share a product.
#pragma once

#include "../wgmma/tile_shared.cuh"
#include "fused_steps.cuh"

namespace fewbit::cuda::gptq {

constexpr int kProducers = 128;
constexpr int kStagerWarps = 3;

template <int Bits, int BatchRows, int Warpgroups>
struct FusedShape {
  static constexpr int kColumns = Warpgroups * 64;
  static constexpr int kConsumers = Warpgroups * 128;
  static constexpr int kThreads = kProducers + kConsumers;
  // A stage holds both halves of a tile's depth, or one where two would leave too few stages.
  static constexpr int kHalves = Bits == 8 && BatchRows > 128 ? 1 : 2;
  static constexpr int kStageDepth = kTileDepth / 2 * kHalves;
  static constexpr int kStagesPerTile = 2 / kHalves;
  static constexpr int kXBytes = BatchRows * kStageDepth * 2;
  static constexpr int kLowBytes = kColumns * kStageDepth * plane_width(Bits) / 8;
  static constexpr int kHighBytes = Bits == 3 ? kColumns * kStageDepth / 8 : 0;
  static constexpr int kCopiedBytes = kXBytes + kLowBytes + kHighBytes;
  // Scales and zero points, of every part of the tile or, where the largest tiles leave no room for
  // that, of all of it.
  static constexpr int kParts = BatchRows > 128 ? 1 : kTileParts;
  static constexpr int kGridBytes = kParts * kColumns * sizeof(uint2);
  static constexpr int kStageBytes = kCopiedBytes + kGridBytes;
  // Small tiles leave room for a second block on the multiprocessor.
  static constexpr int kBlocks = BatchRows <= 32 ? 2 : 1;
  // What is there once the producers have given most of theirs.
  static constexpr int kConsumerRegisters = kBlocks == 2 ? 96 : Warpgroups > 2 ? 152 : 232;
  static constexpr int kRoom = kBlocks == 2 ? 110 * 1024 : 225 * 1024;
  static constexpr int kStages = kRoom / kStageBytes < 16 ? kRoom / kStageBytes : 16;
  // With fewer, a warp that stages grids could come back to a stage before the round in between, and
  // take its barrier's phase for that of the round before.
  static_assert(kStages >= kStagerWarps);
  // One wgmma takes up to 128 rows of x.
  static constexpr int kMmaRows = BatchRows < 128 ? BatchRows : 128;
  static constexpr int kMmas = BatchRows / kMmaRows;
  // Sums on their way out, [BatchRows][kColumns]: the padding keeps threads in different banks.
  static constexpr int kSumStride = kColumns + 4;

  // A stage: x, codes, top bits, grids.
  using Shared = TileShared<kStages, kStageBytes, BatchRows * kSumStride>;
  static constexpr int kSharedBytes = sizeof(Shared) + 1024;  // room to align
};

struct FusedGrid {
  int first_column;
  int column_tiles;
  int units;  // of a tile's outputs by BatchRows of x
  int depth_steps;
  int split;  // blocks of a cluster that share a unit
  int parts;  // of a tile that may be of different groups: all, or 1 where groups are whole tiles
};

}  // namespace fewbit::cuda::gptq
