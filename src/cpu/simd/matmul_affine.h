// The matmul of affine codes. A register of int32 lanes has a lane's share of the sum of one group,
// which is scaled there and added up in f32: lanes meet at the end of a row. An instruction set is a
// type S with a vector type V and
//   kParts       registers of a chunk's lanes
//   kBlockRows   rows of x at a time, as the registers allow with four rows of the weight
//   Codes        a register of bytes
//   unpack<Bits>(low, high, part, u)   the two registers of unsigned codes of part `part`
//   dot(u, x, stride)  int32 lanes, as floats: u[0] times the codes at x, u[1] those `stride` behind
//   spread<Bits>(values, part)         values[lane_block(lane)] in each lane
#pragma once

#include "../kernels.h"

namespace fewbit::cpu::simd {

// Scales and zero points of the four blocks of a chunk.
struct ChunkGrid {
  alignas(16) float scales[4], zeros[4];
};

template <int Bits>
inline float zero_of(const AffineRow& row, int64_t group) {
  return Bits == 8 ? 128.0f : static_cast<float>(row.zeros[group]);
}

template <int Bits>
inline ChunkGrid chunk_grid(const AffineRow& row, const AffineShape& shape, int64_t chunk) {
  ChunkGrid grid;
  for (int block = 0; block < 4; ++block) {
    int64_t group = (chunk * 4 + block) * ops::affine::kAlignment / shape.group_size;
    if (group >= shape.groups) group = shape.groups - 1;
    grid.scales[block] = row.scales[group];
    grid.zeros[block] = zero_of<Bits>(row, group);
  }
  return grid;
}

// R rows of x times four rows of the weight, of which the first `cols` are stored. Coarse: a chunk
// is of one group.
template <class S, int Bits, int R, bool Coarse>
void block_affine(const AffineInput& x, const AffineRow* weight, const AffineShape& shape,
                  int64_t cols, float* out, int64_t out_stride) {
  using V = typename S::V;
  constexpr int kWidth = ops::affine::low_width(Bits);
  constexpr int kLanes = kChunkLanes / S::kParts, kChunk = ops::affine::kChunk;
  typename V::Float totals[R][4];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) totals[r][c] = V::zero();
  }
  for (int64_t chunk = 0; chunk < shape.chunks; ++chunk) {
    const int64_t group = Coarse && shape.groups > 1 ? chunk * kChunk / shape.group_size : 0;
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      const uint8_t* low = weight[c].low + chunk * (kChunk / 8) * kWidth;
      const uint8_t* high = Bits == 3 ? weight[c].high + chunk * (kChunk / 8) : nullptr;
      ChunkGrid grid;
      if constexpr (!Coarse) grid = chunk_grid<Bits>(weight[c], shape, chunk);
#pragma GCC unroll 2
      for (int part = 0; part < S::kParts; ++part) {
        typename S::Codes u[2];
        S::template unpack<Bits>(low, high, part, u);
        typename V::Float scale, zero;
        if constexpr (Coarse) {
          scale = V::set(weight[c].scales[group]);
          zero = V::set(zero_of<Bits>(weight[c], group));
        } else {
          scale = S::template spread<Bits>(grid.scales, part);
          zero = S::template spread<Bits>(grid.zeros, part);
        }
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          const int64_t at = r * shape.chunks + chunk;
          const int8_t* codes = x.codes + at * kChunk + part * kLanes * 4;
          const float* sums = x.sums + at * kChunkLanes + part * kLanes;
          // Both are whole numbers below 2^24: their difference is exact.
          const auto products =
              V::sub(S::dot(u, codes, kChunkLanes * 4), V::mul(zero, V::load(sums)));
          totals[r][c] = V::fma(products, scale, totals[r][c]);
        }
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    float sums[4];
    V::add_lanes(totals[r][0], totals[r][1], totals[r][2], totals[r][3], sums);
    for (int64_t c = 0; c < cols; ++c) out[r * out_stride + c] = sums[c];
  }
}

// rows <= R
template <class S, int Bits, bool Coarse, int R>
inline void block_row_affine(int64_t rows, const AffineInput& x, const AffineRow* weight,
                             const AffineShape& shape, int64_t cols, float* out,
                             int64_t out_stride) {
  if constexpr (R > 1) {
    if (rows < R) {
      return block_row_affine<S, Bits, Coarse, R - 1>(rows, x, weight, shape, cols, out,
                                                      out_stride);
    }
  }
  block_affine<S, Bits, R, Coarse>(x, weight, shape, cols, out, out_stride);
}

template <class S, int Bits>
void matmul_affine_of(const AffineInput& x, int64_t rows, const AffineRow* weight,
                      const AffineShape& shape, int64_t cols, float* out, int64_t out_stride) {
  const bool coarse = shape.groups <= 1 || shape.group_size % ops::affine::kChunk == 0;
  for (int64_t row = 0; row < rows; row += S::kBlockRows) {
    const AffineInput from{x.codes + row * shape.chunks * ops::affine::kChunk,
                           x.sums + row * shape.chunks * kChunkLanes};
    const auto block = coarse ? block_row_affine<S, Bits, true, S::kBlockRows>
                              : block_row_affine<S, Bits, false, S::kBlockRows>;
    block(rows - row, from, weight, shape, cols, out + row * out_stride, out_stride);
  }
}

}  // namespace fewbit::cpu::simd
