// What bulk_matmul keeps in shared memory: slices of codes as bulk copies leave them.
#pragma once

#include "../common/ring_position.cuh"
#include "bulk_weight.h"
#include "codes.cuh"

namespace fewbit::cuda::gptq {

static_assert(kBulkPiece == 4 * kChunk);
constexpr int kWarpPieces = 2;  // of each warp in a slice
constexpr int kMaxStages = 16;  // and slots
constexpr int kMaxFetched = 2;  // tiles whose scales lie as in memory

// Threads of a block of which `warps` multiply.
constexpr int bulk_threads(int warps) { return (warps + 2) * 32; }

// A slice of a tile: boxes of 128 bytes of its 16 rows, swizzled by the copies.
template <int Bits, int Warps>
struct BulkSlice {
  static constexpr int kPieces = Warps * kWarpPieces;
  static constexpr int kPositions = kPieces * kBulkPiece;
  static constexpr int kWidth = plane_width(Bits);
  static constexpr int kBoxBytes = kBulkTile * 128;
  static constexpr int kLowBoxes = kPositions * kWidth / 8 / 128;
  static constexpr int kHighBoxes = Bits == 3 ? kPositions / 8 / 128 : 0;
  static constexpr int kStageBytes = (kLowBoxes + kHighBoxes) * kBoxBytes;
};

// How a launch lays out its shared memory: the stages, the struct below, then these.
struct BulkPlan {
  int stages;
  int early;         // of these, filled before x is asked for
  int slots;         // tiles under way: enough that a stage's next tile finds one free
  int fetched;       // tiles whose scales and zero points lie as in memory
  int scales_bytes;  // of a tile, a multiple of 16
  int zeros_bytes;   // likewise
  int pieces;        // of a row
  int slices;
};

struct BulkShared {
  uint64_t full[kMaxStages], empty[kMaxStages];
  uint64_t came[kMaxFetched];
  uint64_t ready[kMaxStages], done[kMaxStages];  // a slot's grids, and its sums
};

// Where lanes 4i .. 4i + 3 find their row of eight: those that load at the same time are then in
// different banks, whatever the width.
__device__ __forceinline__ int tile_row_of(int group) {
  return (group & 1) * 4 + (group & 2) + group / 4;
}

// Where a plane of a stage has chunk number piece * 4 + part of a row. Rows 8 apart, and pieces a multiple
// of 8 apart, differ by constants.
template <class Slice, int Width>
__device__ __forceinline__ uint32_t chunk_offset(int row, int chunk) {
  const int byte = chunk * (kChunk * Width / 8);
  return static_cast<uint32_t>(byte / 128 * Slice::kBoxBytes + row * 128 +
                               ((byte % 128) ^ (row % 8 * 16)));
}

}  // namespace fewbit::cuda::gptq
