// What ring_matmul keeps in shared memory, and where threads find their codes there.
#pragma once

#include "bulk_weight.h"
#include "fragments.cuh"
#include "warp_sums.cuh"

namespace fewbit::cuda::gptq {

constexpr int kRingWarps = 8;
constexpr int kRingThreads = kRingWarps * 32;
static_assert(kBulkPiece == 4 * kChunk);

// Shared memory: the rings' codes, their top bits, both halves of their x; barriers; scales and zero
// points.
template <int Bits, int RowTiles, int BatchTiles, int Stages>
struct RingShape {
  static constexpr int kColumns = RowTiles * 16;
  static constexpr int kRows = BatchTiles * 8;
  static constexpr int kPlaces = kRingWarps * Stages;
  // Of a row in a piece, and of a stage.
  static constexpr int kLowRow = kBulkPiece * plane_width(Bits) / 8, kHighRow = kBulkPiece / 8;
  static constexpr int kLowBytes = kColumns * kLowRow;
  static constexpr int kHighBytes = Bits == 3 ? kColumns * kHighRow : 0;
  static constexpr int kXBytes = kRows * 128;  // half a piece
  // Second halves of x lie two rows further on in the pattern of the swizzle, so that threads which read
  // at the same time use all banks.
  static constexpr int kXHalf = kPlaces * kXBytes + 2 * 128;
  static constexpr int kXAt = kPlaces * (kLowBytes + kHighBytes);
  static constexpr int kRingBytes = kXAt + 2 * kXHalf;
  using Sums = WarpSums<kRingWarps, kColumns, kRows>;
  static_assert(kRingBytes >= Sums::kBytes, "sums come to lie in the rings");
  static_assert(kXAt % 1024 == 0);
  static constexpr int kBarriers = kPlaces + 2;  // scales follow at a multiple of 16 bytes

  static constexpr int64_t shared_bytes(int groups) {
    return 1024 + kRingBytes + kBarriers * int64_t{sizeof(uint64_t)} +
           int64_t{kColumns} * groups * 3;
  }
};

// Where a thread's chunk of a row lies in a stage; rows a multiple of 8 further on differ by a constant.
template <int RowBytes>
__device__ __forceinline__ uint32_t ring_offset(int row, int chunk) {
  const int byte = chunk * (RowBytes / 4);
  return static_cast<uint32_t>(swizzled<RowBytes>(row, byte / 16) + byte % 16);
}

}  // namespace fewbit::cuda::gptq
