// The extents of tile_matmul, what its shared memory holds, and in which order tiles are computed.
#pragma once

#include <cstdint>

#include "tile_epilogue.cuh"

namespace fewbit::cuda::bitnet {

constexpr int kTileThreads = 384;
constexpr int kConsumerThreads = 256;
constexpr int kConsumerWarps = kConsumerThreads / 32;
constexpr int kStagerThreads = 96;     // of the producer warpgroup
constexpr int kConsumerBarrier = 1;    // 0 is __syncthreads()
constexpr int kFirstStageBarrier = 2;  // one for each consumer warpgroup
constexpr int kTileColumns = 128;      // 64 of each consumer warpgroup
constexpr int kBoxBytes = 128;         // one swizzle span
constexpr int kDepthStep = 128;        // of K: a box of X
constexpr int kBoxSteps = 4;           // steps that a box of W lasts

// Tokens: rows of X.
template <int Tokens, int Split>
struct TileShape {
  static constexpr int kColumns = kTileColumns;
  static constexpr int kSums = Tokens / 2;
  static constexpr int kXBytes = Tokens * kBoxBytes;
  static constexpr int kWeightBytes = kColumns * kBoxBytes;
  static constexpr int kWeightStages = (Tokens <= 64    ? 96
                                        : Tokens <= 128 ? 64
                                                        : 32) *
                                       1024 / kWeightBytes;
  static constexpr int kXRoom = 208 * 1024 - kWeightStages * kWeightBytes;
  static constexpr int kXStages = kXRoom / kXBytes < 16 ? kXRoom / kXBytes : 16;

  struct Shared {
    unsigned char x[kXStages][kXBytes];  // 1024-byte aligned, as is weight
    unsigned char weight[kWeightStages][kWeightBytes];
    uint64_t x_full[kXStages], x_empty[kXStages];
    RowTerms<Tokens> rows;
    StagedRows staged[Split > 1 ? 1 : kConsumerThreads / 128];
    uint64_t weight_full[kWeightStages], weight_empty[kWeightStages];
    uint64_t rows_full, rows_empty;
  };
  static constexpr int kSharedBytes = sizeof(Shared) + 1024;  // room to align
  static_assert(kSharedBytes <= 227 * 1024);
};

struct TileGrid {
  int token_tiles;
  int column_tiles;
  int depth_steps;

  __host__ __device__ int units() const { return token_tiles * column_tiles; }
  // Units that run at the same time share rows of X and of W as far as possible: x, the token tile;
  // y, the column tile.
  __device__ __forceinline__ int2 at(int unit) const {
    constexpr int kGroup = 8;
    const int in_group = kGroup * column_tiles;
    const int first = unit / in_group * kGroup;
    const int height = min(kGroup, token_tiles - first);
    const int rest = unit % in_group;
    return {first + rest % height, rest / height};
  }
};

// A place in a ring of stages, and the parity of the barriers' phase there.
template <int Stages>
struct RingPlace {
  int stage = 0;
  uint32_t phase = 0;
  __device__ __forceinline__ void advance() {
    if (++stage == Stages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

}  // namespace fewbit::cuda::bitnet
