// The shapes of bulk_matmul: how a launch divides the weight, and what a block keeps in shared memory.
#pragma once

#include "../common/ring_position.cuh"
#include "bulk_terms.cuh"

namespace fewbit::cuda::int8 {

constexpr int kBulkWarps = 8;                        // that multiply
constexpr int kBoxBytes = 128;                       // of K, one swizzle span
constexpr int kSliceBytes = kBulkWarps * kBoxBytes;  // of K in a stage: a box for each warp
constexpr int kBulkTile = 32;                        // rows of W at most
constexpr int kMaxBulkStages = 16;
// Of W in a clock of a block, while the kernels before still run: some two thirds of what memory delivers,
// so that little is queued in front of what those kernels read.
constexpr int kPacedBytes = 11;

// How a launch lays out its dynamic shared memory: from a multiple of 1024 on the stages, then
// Shape::Shared and the sums of a tile.
struct BulkPlan {
  int tile;  // rows of W, a multiple of 8
  int stages;
};

// Rows: of X at most; 1, 8 or 16.
template <int Rows>
struct BulkShape {
  static constexpr int kRows = Rows;
  static constexpr int kBatchTiles = (Rows + 7) / 8;
  static constexpr int kHelpers = 3;  // warps that load W, load X, and see to the outliers
  static constexpr int kFinishers = Rows == 1 ? 1 : 2 * kBatchTiles;
  static constexpr int kFinishedRows = kRows / kFinishers;  // of each
  static constexpr int kThreads = (kBulkWarps + kHelpers + kFinishers) * 32;
  // Registers are left for the block of int8_quantize that comes next.
  static constexpr int kMinBlocks = Rows <= 8 ? 2 : 1;
  static constexpr int kXBox = kRows * kBoxBytes;

  struct Shared {
    BulkTerms<kBulkTile, kRows> terms;
    uint64_t full[kMaxBulkStages], empty[kMaxBulkStages];
    uint64_t done, taken;  // the sums of a tile
    uint64_t released;     // the kernels before have ended
    uint64_t found;        // the outliers that are staged
  };
  // Where a warp puts its sums of a row of X, after Shared: one for each row of W in a tile.
  static __host__ __device__ int sums_at(int tile, int warp, int row) {
    return (warp * kRows + row) * tile;
  }
  // Boxes of W, then those of X.
  static __host__ __device__ int stage_bytes(int tile) {
    return kBulkWarps * (tile * kBoxBytes + kXBox);
  }
  static size_t shared_bytes(const BulkPlan& plan) {
    constexpr size_t kAlignment = 1024;
    return kAlignment + static_cast<size_t>(plan.stages) * stage_bytes(plan.tile) + sizeof(Shared) +
           sizeof(int32_t) * sums_at(plan.tile, kBulkWarps, 0);
  }
};

// The row of eight that lanes 4 group .. 4 group + 3 take: those that load at the same time are then
// in different banks.
__device__ __forceinline__ int box_row_of(int group) {
  return (group & 1) * 4 + (group & 2) + group / 4;
}

// Where a box has a byte of a row, as the copy's swizzle puts it.
__device__ __forceinline__ int box_offset(int row, int byte) {
  return row * kBoxBytes + (byte ^ row % 8 * 16);
}

}  // namespace fewbit::cuda::int8
