// The matmul of simd/matmul.h for a few rows of x and GPTQ weights that are dequantized in
// registers, with the same values and the same order of additions.
#pragma once

#include "gptq.h"

namespace fewbit::cpu::simd {

// How a block reads x: a whole vector, or one of the last positions of a row.
template <class V>
struct LoadAll {
  typename V::Float operator()(const float* x, int first) const { return V::load(x + first); }
};

template <class V>
struct LoadRest {
  int rest;
  typename V::Float operator()(const float* x, int first) const {
    if (rest <= first) return V::zero();
    const int count = rest - first;
    return V::load_first(x + first, count < V::kWidth ? count : V::kWidth);
  }
};

// Positions First .. 31 of 32: R rows of x times four rows of the weight.
template <class S, int R, int First, class Grid, class Load>
inline void accumulate_gptq(const float* x, int64_t x_stride, const Grid (&grids)[4],
                            const uint8_t* const (&low)[4], const uint8_t* const (&high)[4],
                            const Load& load, typename S::V::Float sums[R][4]) {
  using V = typename S::V;
  typename V::Float values[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) values[r] = load(x + r * x_stride, First);
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const typename V::Float weights = grids[c].template weights<First>(low[c], high[c]);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sums[r][c] = V::fma(values[r], weights, sums[r][c]);
  }
  constexpr int kNext = First + V::kWidth;
  if constexpr (kNext < 32) accumulate_gptq<S, R, kNext>(x, x_stride, grids, low, high, load, sums);
}

// R rows of x times cols <= 4 rows of the weight; spans has four.
template <class S, int Bits, int R>
void block_gptq(const float* x, int64_t x_stride, const GptqSpan* spans, int64_t cols, float* out,
                int64_t out_stride, bool accumulate) {
  using V = typename S::V;
  using Grid = typename S::template Grid<Bits>;
  constexpr int kLowBytes = 4 * ops::gptq::low_width(Bits), kHighBytes = Bits == 3 ? 4 : 0;
  typename V::Float sums[R][4];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) sums[r][c] = V::zero();
  }
  const uint8_t* low[4] = {spans[0].low, spans[1].low, spans[2].low, spans[3].low};
  const uint8_t* high[4] = {spans[0].high, spans[1].high, spans[2].high, spans[3].high};
  const int64_t count = spans->count;
  int64_t end = spans->first_group;
  for (int64_t i = 0, group = 0; i < count; ++group, end += spans->group_size) {
    const auto grid_of = [&](const GptqSpan& span) {
      return Grid(span.scales[group], span.zeros[group]);
    };
    const Grid grids[4] = {grid_of(spans[0]), grid_of(spans[1]), grid_of(spans[2]),
                           grid_of(spans[3])};
    const int64_t stop = end < count ? end : count;
    for (; i < stop; i += 32) {
      if (i + 32 <= stop) {
        accumulate_gptq<S, R, 0>(x + i, x_stride, grids, low, high, LoadAll<V>{}, sums);
      } else {
        const LoadRest<V> load{static_cast<int>(stop - i)};
        accumulate_gptq<S, R, 0>(x + i, x_stride, grids, low, high, load, sums);
      }
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) {
        low[c] += kLowBytes;
        high[c] += kHighBytes;
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    float totals[4];
    V::add_lanes(sums[r][0], sums[r][1], sums[r][2], sums[r][3], totals);
    float* y = out + r * out_stride;
    for (int64_t c = 0; c < cols; ++c) y[c] = accumulate ? y[c] + totals[c] : totals[c];
  }
}

// rows <= R
template <class S, int Bits, int R>
inline void block_row_gptq(int64_t rows, const float* x, int64_t x_stride, const GptqSpan* spans,
                           int64_t cols, float* out, int64_t out_stride, bool accumulate) {
  if constexpr (R > 1) {
    if (rows < R) {
      block_row_gptq<S, Bits, R - 1>(rows, x, x_stride, spans, cols, out, out_stride, accumulate);
      return;
    }
  }
  block_gptq<S, Bits, R>(x, x_stride, spans, cols, out, out_stride, accumulate);
}

template <class S>
void matmul_gptq(const float* x, int64_t x_stride, const GptqSpan* spans, int64_t rows,
                 int64_t cols, float* out, int64_t out_stride, bool accumulate) {
  const auto run = [&](auto block) {
    block(rows, x, x_stride, spans, cols, out, out_stride, accumulate);
  };
  switch (spans->bits) {
    case 2:
      return run(block_row_gptq<S, 2, S::kFewRows>);
    case 3:
      return run(block_row_gptq<S, 3, S::kFewRows>);
    case 4:
      return run(block_row_gptq<S, 4, S::kFewRows>);
    default:
      return run(block_row_gptq<S, 8, S::kFewRows>);
  }
}

}  // namespace fewbit::cpu::simd
