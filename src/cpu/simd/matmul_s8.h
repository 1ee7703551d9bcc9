// Register-blocked int8 matmul tiles. Integer sums are exact in any order, so an instruction set
// only says how to multiply: a type S with
//   kWidth       codes in a register, at most 64; k is a multiple of 16
//   kPacked      codes of w per byte
//   kBlockRows   rows of x at a time, as the registers allow with four rows of w
//   Sums         a register of int32 lanes; zero(), add_lanes(a, b, c, d, totals)
//   load_x, load_w, and where registers may end up partial the same with a count
//   multiply_add(x, w, sums)
//   correction(x_sum)  what to add to a total, given the sum of the row's codes
#pragma once

#include "../kernels.h"

namespace fewbit::cpu::simd {

// How a block reads: a whole register, or the last one of a row.
template <class S>
struct LoadFullCodes {
  typename S::Codes x(const int8_t* p) const { return S::load_x(p); }
  typename S::Codes w(const int8_t* p) const { return S::load_w(p); }
};

template <class S>
struct LoadFirstCodes {
  int count;
  typename S::Codes x(const int8_t* p) const { return S::load_x(p, count); }
  typename S::Codes w(const int8_t* p) const { return S::load_w(p, count); }
};

// R rows of x times C rows of w, C = 1 or 4, at one register's worth of k.
template <class S, int R, int C, class Load>
inline void accumulate_block_s8(const int8_t* x, int64_t x_stride, const int8_t* w,
                                int64_t w_stride, const Load& load, typename S::Sums sums[R][4]) {
  typename S::Codes codes[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) codes[r] = load.x(x + r * x_stride);
#pragma GCC unroll 4
  for (int c = 0; c < C; ++c) {
    const typename S::Codes weights = load.w(w + c * w_stride);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sums[r][c] = S::multiply_add(codes[r], weights, sums[r][c]);
  }
}

template <class S, int R, int C>
inline void block_s8(const int8_t* x, int64_t x_stride, const int32_t* x_sums, const int8_t* w,
                     int64_t w_stride, int64_t k, int32_t* out, int64_t out_stride,
                     bool accumulate) {
  typename S::Sums sums[R][4];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) sums[r][c] = S::zero();
  }
  int64_t i = 0;
  for (; i + S::kWidth <= k; i += S::kWidth) {
    accumulate_block_s8<S, R, C>(x + i, x_stride, w + i / S::kPacked, w_stride, LoadFullCodes<S>{},
                                 sums);
  }
  if constexpr (S::kPacked == 1) {  // packed codes come in whole registers
    if (i < k) {
      const LoadFirstCodes<S> load{static_cast<int>(k - i)};
      accumulate_block_s8<S, R, C>(x + i, x_stride, w + i, w_stride, load, sums);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    int32_t totals[4];
    S::add_lanes(sums[r][0], sums[r][1], sums[r][2], sums[r][3], totals);
    int32_t* y = out + r * out_stride;
    const uint32_t correction = S::correction(x_sums[r]);
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {  // unsigned: wraps
      const uint32_t total = static_cast<uint32_t>(totals[c]) + correction;
      y[c] = static_cast<int32_t>(accumulate ? static_cast<uint32_t>(y[c]) + total : total);
    }
  }
}

// A block of rows <= R, all cols of it.
template <class S, int R>
inline void block_row_s8(int64_t rows, const int8_t* x, int64_t x_stride, const int32_t* x_sums,
                         const int8_t* w, int64_t w_stride, int64_t k, int64_t cols, int32_t* out,
                         int64_t out_stride, bool accumulate) {
  if constexpr (R > 1) {
    if (rows < R) {
      block_row_s8<S, R - 1>(rows, x, x_stride, x_sums, w, w_stride, k, cols, out, out_stride,
                             accumulate);
      return;
    }
  }
  int64_t j = 0;
  for (; j + 4 <= cols; j += 4) {
    block_s8<S, R, 4>(x, x_stride, x_sums, w + j * w_stride, w_stride, k, out + j, out_stride,
                      accumulate);
  }
  for (; j < cols; ++j) {
    block_s8<S, R, 1>(x, x_stride, x_sums, w + j * w_stride, w_stride, k, out + j, out_stride,
                      accumulate);
  }
}

// Rows are dealt evenly to blocks of at most S::kBlockRows.
template <class S>
void matmul_s8(const int8_t* x, int64_t x_stride, const int32_t* x_sums, const int8_t* w,
               int64_t w_stride, int64_t k, int64_t rows, int64_t cols, int32_t* out,
               int64_t out_stride, bool accumulate) {
  int64_t blocks = (rows + S::kBlockRows - 1) / S::kBlockRows;
  for (int64_t done = 0, count; done < rows; done += count, --blocks) {
    count = (rows - done + blocks - 1) / blocks;
    block_row_s8<S, S::kBlockRows>(count, x + done * x_stride, x_stride, x_sums + done, w, w_stride,
                                   k, cols, out + done * out_stride, out_stride, accumulate);
  }
}

}  // namespace fewbit::cpu::simd
