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

// Adds the products of `count` rows of W and the codes to sums, which are zero. Rows lie row_stride
// apart, and full[i] completes when the 16 rows from 16 i on are there.
template <int Warps>
__device__ __forceinline__ void multiply_resident(int32_t* sums, const unsigned char* weights,
                                                  int row_stride, uint64_t* full, int count,
                                                  const unsigned char* codes, int depth) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int group = lane / 4, part = lane % 4;
  const int steps = (depth + kTileDepth - 1) / kTileDepth;
  const int whole = count / 16, last = LaneTile(count % 16, 0).segments();
  const int units = whole * steps + (count % 16 ? (steps + last - 1) / last : 0);
  const int end = units * (warp + 1) / Warps;
  for (int unit = units * warp / Warps; unit < end;) {
    const int tile = min(unit / steps, whole), begin = tile * steps;
    const LaneTile own(count - tile * 16, group);
    const int stop = min(end, tile < whole ? begin + steps : units);
    const unsigned char* first = weights + tile * 16 * row_stride + part * 16;
    hopper::wait(full[tile], 0);
    FieldSums products;
#pragma unroll 1
    for (; unit < stop; ++unit) {
      const int step = (unit - begin) * own.segments();
      const int column = (step + group) * kTileDepth + part * 64;
      uint4 x[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        x[i] = uint4{0, 0, 0, 0};
        if (group < own.segments() && column < depth) {
          x[i] = reinterpret_cast<const uint4*>(codes + (step + group) * kTileDepth)[i * 4 + part];
        }
      }
      // Past the end of K the codes are zeros, whatever the weights.
      uint4 w[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        w[half] = *reinterpret_cast<const uint4*>(first + own.row[half] * row_stride +
                                                  min(step + own.segment[half], steps - 1) *
                                                      (kTileDepth / 4));
      }
      products.add(w[0], w[1], x);
    }
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
