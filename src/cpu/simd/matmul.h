// Register-blocked matmul tiles over a vector type V (avx2/vec.h, avx512/vec.h). Lane l of an
// output's accumulator sums the k that leave l modulo the width, in order, and the lanes are then
// added in a fixed tree: an output depends on neither the tile's shape nor its place in it.
#pragma once

#include "../kernels.h"

namespace fewbit::cpu::simd {

// How a block reads: a whole vector, or the last one of a row. (Not lambdas: GCC gives the function
// that a captureless one converts to no target.)
template <class V>
struct LoadFull {
  template <class T>
  typename V::Float operator()(const T* p) const {
    return V::load(p);
  }
};

template <class V>
struct LoadFirst {
  int count;
  template <class T>
  typename V::Float operator()(const T* p) const {
    return V::load_first(p, count);
  }
};

// R rows of x times C rows of w, C = 1 or 4, at one vector's worth of k. Rows of x stay in
// registers and weights pass through one: R * (C + 1) + 1 registers in all.
template <class V, class W, int R, int C, class Load>
inline void accumulate_block(const float* x, int64_t x_stride, const W* w, int64_t w_stride,
                             const Load& load, typename V::Float sums[R][4]) {
  typename V::Float values[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) values[r] = load(x + r * x_stride);
#pragma GCC unroll 4
  for (int c = 0; c < C; ++c) {
    const typename V::Float weights = load(w + c * w_stride);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sums[r][c] = V::fma(values[r], weights, sums[r][c]);
  }
}

template <class V, class W, int R, int C>
inline void block(const float* x, int64_t x_stride, const W* w, int64_t w_stride, int64_t k,
                  float* out, int64_t out_stride, bool accumulate) {
  typename V::Float sums[R][4];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) sums[r][c] = V::zero();
  }
  int64_t i = 0;
  for (; i + V::kWidth <= k; i += V::kWidth) {
    accumulate_block<V, W, R, C>(x + i, x_stride, w + i, w_stride, LoadFull<V>{}, sums);
  }
  if (i < k) {
    const LoadFirst<V> load{static_cast<int>(k - i)};
    accumulate_block<V, W, R, C>(x + i, x_stride, w + i, w_stride, load, sums);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    float totals[4];
    V::add_lanes(sums[r][0], sums[r][1], sums[r][2], sums[r][3], totals);
    float* y = out + r * out_stride;
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) y[c] = accumulate ? y[c] + totals[c] : totals[c];
  }
}

// A block of rows <= R, all cols of it.
template <class V, class W, int R>
inline void block_row(int64_t rows, const float* x, int64_t x_stride, const W* w, int64_t w_stride,
                      int64_t k, int64_t cols, float* out, int64_t out_stride, bool accumulate) {
  if constexpr (R > 1) {
    if (rows < R) {
      block_row<V, W, R - 1>(rows, x, x_stride, w, w_stride, k, cols, out, out_stride, accumulate);
      return;
    }
  }
  int64_t j = 0;
  for (; j + 4 <= cols; j += 4) {
    block<V, W, R, 4>(x, x_stride, w + j * w_stride, w_stride, k, out + j, out_stride, accumulate);
  }
  for (; j < cols; ++j) {
    block<V, W, R, 1>(x, x_stride, w + j * w_stride, w_stride, k, out + j, out_stride, accumulate);
  }
}

// Rows are dealt evenly to blocks of at most V::kBlockRows.
template <class V, class W>
void matmul(const float* x, int64_t x_stride, const void* w, int64_t w_stride, int64_t k,
            int64_t rows, int64_t cols, float* out, int64_t out_stride, bool accumulate) {
  int64_t blocks = (rows + V::kBlockRows - 1) / V::kBlockRows;
  for (int64_t done = 0, count; done < rows; done += count, --blocks) {
    count = (rows - done + blocks - 1) / blocks;
    block_row<V, W, V::kBlockRows>(count, x + done * x_stride, x_stride, static_cast<const W*>(w),
                                   w_stride, k, cols, out + done * out_stride, out_stride,
                                   accumulate);
  }
}

// y[j] += sum_i c[i] * w[i, j], four vectors of j at a time.
template <class V>
void rank_update(const float* c, int64_t count, const float* w, int64_t w_stride, int64_t n,
                 float* y) {
  int64_t j = 0;
  for (; j + 4 * V::kWidth <= n; j += 4 * V::kWidth) {
    typename V::Float sums[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) sums[v] = V::load(y + j + v * V::kWidth);
    for (int64_t i = 0; i < count; ++i) {
      const typename V::Float factor = V::set(c[i]);
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) {
        sums[v] = V::fma(factor, V::load(w + i * w_stride + j + v * V::kWidth), sums[v]);
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) V::store(y + j + v * V::kWidth, sums[v]);
  }
  for (; j < n; j += V::kWidth) {
    const int rest = n - j < V::kWidth ? static_cast<int>(n - j) : V::kWidth;
    typename V::Float sum = V::load_first(y + j, rest);
    for (int64_t i = 0; i < count; ++i) {
      sum = V::fma(V::set(c[i]), V::load_first(w + i * w_stride + j, rest), sum);
    }
    V::store_first(y + j, sum, rest);
  }
}

}  // namespace fewbit::cpu::simd
