// The fused kernel's tiles: what a block and a cluster hold, how tiles are dealt out, and how often
// their outliers are handed over.
#pragma once

#include "slice_epilogue.cuh"

namespace fewbit::cuda::int8 {

constexpr int kDepthStep = 128;  // bytes of K in a stage, one swizzle span
constexpr int kFusedThreads = 384;
constexpr int kConsumerThreads = 256;
constexpr int kConsumerWarps = kConsumerThreads / 32;
constexpr int kStagerThreads = 64;

template <int BlockRows, int BlockColumns, int Split, int RowTiles, int ColumnTiles>
struct FusedShape {
  static constexpr int kTiles = RowTiles * ColumnTiles;  // of a cluster
  static constexpr int kCluster = Split * kTiles;
  static constexpr int kPeers = RowTiles + ColumnTiles - 1;  // blocks that a block fetches for
  // What a block fetches of the tiles it shares.
  static constexpr int kFetchedRows = BlockRows / ColumnTiles;
  static constexpr int kFetchedColumns = BlockColumns / RowTiles;
  // Two warpgroups: one above the other, or for 64-row tiles each with every second step of K.
  static constexpr int kDepthGroups = BlockRows == 64 ? 2 : 1;
  static constexpr int kFragments = BlockColumns / 8;
  // Warpgroups that hold sums of the same results; each finishes a part of them.
  static constexpr int kParts = Split * kDepthGroups;
  static constexpr int kOwnFragments = kFragments / kParts;
  static constexpr int kExchangeThreads = kConsumerThreads / kDepthGroups;
  // Fragments that the epilogue holds as floats at a time, which bounds its registers.
  static constexpr int kSliceFragments = kOwnFragments == 10 && kFragments == 10         ? 10
                                         : kOwnFragments % 8 == 0 && kOwnFragments <= 24 ? 8
                                         : kOwnFragments % 4 == 0                        ? 4
                                                                                         : 2;
  static constexpr int kSlices = kOwnFragments / kSliceFragments;
  static constexpr int kXBytes = BlockRows * kDepthStep;
  static constexpr int kStageBytes = kXBytes + BlockColumns * kDepthStep;
  // With a split a block does one tile, and its sums' exchange takes the place of the stages.
  static constexpr int kExchangeFours =
      Split == 1 && kDepthGroups > 1 ? kConsumerThreads* kFragments : 1;
  static constexpr int kStageRoom = (212992 - kExchangeFours * 16) / kStageBytes;
  static constexpr int kStages = kStageRoom < 12 ? kStageRoom : 12;
  // A barrier's parity tells two uses of a stage in a row apart, no more: a warpgroup must not leave
  // out the use between.
  static_assert(kStages % kDepthGroups == 0, "each stage belongs to one warpgroup");
  static constexpr int kFetchedWeightBytes = kFetchedColumns * kDepthStep;
  struct Shared {
    unsigned char stages[kStages][kStageBytes];  // x, then weight; 1024-byte aligned
    OutlierTile<BlockRows, BlockColumns> outliers[2];
    ColumnTerms<BlockColumns> terms;
    int4 exchange[kExchangeFours];
    uint64_t full[kStages], empty[kStages];
    uint64_t outliers_full[2], outliers_empty[2];
    uint64_t terms_full, terms_empty;
    uint64_t written;  // the sums that the blocks of a split exchange
    int released;      // the kernel before has ended
  };
  static constexpr int kSharedBytes = sizeof(Shared) + 1024;  // room to align
};

struct TileGrid {
  static constexpr int kGroup = 8;

  int row_units, column_units;  // of a cluster's tiles
  int depth_steps;

  // Whether all uses of a weight are at about the same time.
  __device__ __forceinline__ bool weight_once() const { return row_units <= kGroup; }
  __device__ __forceinline__ int units() const { return row_units * column_units; }
  // Units that run at the same time share rows and columns as far as possible.
  __device__ __forceinline__ int2 at(int unit) const {
    const int in_group = kGroup * column_units;
    const int first = unit / in_group * kGroup;
    const int height = min(kGroup, row_units - first);
    const int rest = unit % in_group;
    return {first + rest % height, rest / height};
  }
};

// How a tile's outliers are handed over, 16 at a time and pass by pass: once when that fits in the
// two buffers, where they stay for all slices of the epilogue, else anew for every slice.
template <int Slices>
struct OutlierSchedule {
  int count, hand_overs;
  bool once;
  bool plain;  // finish_slice will do
  int codes;   // hand-overs of the first pass

  __device__ __forceinline__ explicit OutlierSchedule(const Product& p) : count(p.outliers_here()) {
    const int chunks = (count + kOutlierChunk - 1) / kOutlierChunk;
    codes = p.has_pass(OutlierPass::Codes) ? chunks : 0;
    hand_overs = codes + (p.has_pass(OutlierPass::Weights) ? chunks : 0);
    once = hand_overs <= 2;
    plain = once && !p.bitsandbytes && p.columns % 8 == 0;
  }
  __device__ __forceinline__ int repeats() const { return once ? 1 : Slices; }

  template <int Rows, int Columns>
  __device__ __forceinline__ StagedOutliers<Rows, Columns> staged(
      const OutlierTile<Rows, Columns>* tiles, int first) const {
    return {tiles, first, codes, hand_overs - codes};
  }
};

}  // namespace fewbit::cuda::int8
