// The product of one row of X with rows of W that are all in shared memory at once: every warp of the
// block takes an equal share of the tiles' steps.
//
// A tensor-core tile has 16 rows of W and 8 columns, of which one row of X needs one. A last tile of at
// most 8 rows uses the others: its rows stand in it two, four or eight times, each time with the columns
// of another step, and a column of the tile holds the codes of a step.
#pragma once

#include "field_sums.cuh"
#include "row_source.cuh"

namespace fewbit::cuda::bitnet {

// A tile of rows of W, as a lane sees it.
struct LaneTile {
  int shift;               // 1 << shift rows of W, which stand in it 16 >> shift times
  int row[2], segment[2];  // of this lane's two rows, eight apart

  // left: rows of W from the tile's first to the last.
  __device__ __forceinline__ LaneTile(int left, int group)
      : shift(left > 8   ? 4
              : left > 4 ? 3
              : left > 2 ? 2
                         : 1) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      row[half] = (group + half * 8) & ((1 << shift) - 1);
      segment[half] = (group + half * 8) >> shift;
    }
  }

  __device__ __forceinline__ int segments() const { return 16 >> shift; }
};

// The share of a warp. Found before the codes are there, since divisions take long.
struct ResidentShare {
  int steps;       // of a row
  int tile, unit;  // where the share begins: a unit is a step of all segments of a tile
  int units;       // how many it has

  template <int Warps>
  static __device__ __forceinline__ ResidentShare of_warp(int count, int depth) {
    ResidentShare share;
    share.steps = (depth + kTileDepth - 1) / kTileDepth;
    const int warp = threadIdx.x / 32, whole = count / 16;
    const int last = LaneTile(count % 16, 0).segments();
    const int all = whole * share.steps + (count % 16 ? (share.steps + last - 1) / last : 0);
    const int begin = all * warp / Warps;
    share.units = all * (warp + 1) / Warps - begin;
    share.tile = min(begin / share.steps, whole);
    share.unit = begin - share.tile * share.steps;
    return share;
  }
};

// Adds the products of `count` rows of W and the codes to sums, which are zero. Rows lie row_stride
// apart, and full[i] completes when the 16 rows from 16 i on are there. The codes are followed by a step
// of zeros; what a row of W is followed by does not matter.
__device__ __forceinline__ void multiply_resident(int32_t* sums, const unsigned char* weights,
                                                  int row_stride, uint64_t* full, int count,
                                                  const unsigned char* codes,
                                                  const ResidentShare& share) {
  const int lane = threadIdx.x % 32, group = lane / 4, part = lane % 4;
  const int steps = share.steps;
  int tile = share.tile, unit = share.unit;
  for (int left = share.units; left > 0; ++tile, unit = 0) {
    const LaneTile own(count - tile * 16, group);
    const int segments = own.segments();
    int step = unit * segments;
    const unsigned char* first = weights + tile * 16 * row_stride + part * 16;
    const unsigned char* upper =
        first + own.row[0] * row_stride + own.segment[0] * (kTileDepth / 4);
    const unsigned char* lower =
        first + own.row[1] * row_stride + own.segment[1] * (kTileDepth / 4);
    const unsigned char* x_first = codes + part * 16;
    const int ahead = group & (segments - 1);
    hopper::wait(full[tile], 0);
    FieldSums products;
#pragma unroll 1
    do {
      const auto* from =
          reinterpret_cast<const uint4*>(x_first + min(step + ahead, steps) * kTileDepth);
      const uint4 x[4] = {from[0], from[4], from[8], from[12]};
      products.add_paired(*reinterpret_cast<const uint4*>(upper + step * (kTileDepth / 4)),
                          *reinterpret_cast<const uint4*>(lower + step * (kTileDepth / 4)), x);
      step += segments;
      --left;
    } while (left > 0 && step < steps);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int32_t pair[2] = {products.total(half * 2), products.total(half * 2 + 1)};
      const int row = tile * 16 + own.row[half];
      if (part == own.segment[half] / 2 && row < count) {
        atomicAdd(&sums[row], own.segment[half] % 2 ? pair[1] : pair[0]);
      }
    }
  }
}

}  // namespace fewbit::cuda::bitnet
