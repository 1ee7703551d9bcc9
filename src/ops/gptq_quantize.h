// Quantizes a weight to 2, 3, 4 or 8 bits, one input column after the other, each time correcting
// the columns to come for the error made (GPTQ, arXiv 2210.17323, algorithm 1). factor, order and
// dead come from gptq_factor; without them every weight is rounded to nearest.
//
// The grid of a row in a group: over values x, with 0 among them, xmin and xmax;
//   sym: xmax = max(|xmin|, xmax), and xmin = -xmax if it was negative; zero = 2^(bits - 1)
//   else zero = round(-xmin / scale);      scale = (xmax - xmin) / (2^bits - 1)
//   code = clamp(round(x / scale) + zero, 0, 2^bits - 1), halves to even; w = scale * (code - zero)
// mse > 0: xmin and xmax are shrunk by factors 1, 0.99, ... 0.21, and those with the least
// sum |w - x|^mse are taken. Each of these ranges is also tried in a second way, after the first; of
// equal errors the first wins.
//   sym: with the scale negative, so that the code that sym has more below zero is above it
//   else, 2 bits: with the other integer beside -xmin / scale as its zero point (floor where round
//   went up, ceil where it went down, clamped to 0 .. 3)
//
// grouping says which values make a grid, and which of the G grids a column uses:
//   0 position p uses grid p / group_size, made from the (partly corrected) weights at its positions
//   1 column k uses grid k / group_size, made from the weights as they were (static groups)
//   2 as 0, but grid order[p] / group_size: for an order that keeps groups together
// Columns are taken in blocks of 128; grids inside a block do not see the block's own corrections,
// as in the authors' code. group_size 0 stands for one grid per row, made before dead columns are
// set to 0.
//
// w f32[N, K] in, the dequantized weight out. codes u8[N, K] by column. scales f32[N, G],
// zeros u8[N, G], loss f32[N] = sum over columns of (error / diagonal of factor)^2 / 2.
#pragma once

#include "../core/op_spec.h"
#include "gptq_layout.h"

namespace fewbit::ops::gptq_quantize {

enum Tensor { w, factor, order, dead, codes, scales, zeros, loss };
enum Attr { bits, group_size, sym, grouping, mse };
enum Grouping { kByPosition, kStatic, kByColumn };

constexpr int64_t kBlock = 128;

inline const OpSpec spec{
    "gptq_quantize",
    {{"w", Access::Update},
     {"factor", Access::Read, true},
     {"order", Access::Read, true},
     {"dead", Access::Read, true},
     {"codes", Access::Write},
     {"scales", Access::Write},
     {"zeros", Access::Write},
     {"loss", Access::Write}},
    {"bits", "group_size", "sym", "grouping", "mse"},
    [](const OpCall& call) {
      const int64_t n = call[w].rows(), k = call[w].cols();
      const auto size = static_cast<int64_t>(call.attrs[group_size]);
      const int64_t g = size == 0 ? 1 : gptq::group_count(k, size);
      Checker(spec, call)
          .require(gptq::is_width(static_cast<int>(call.attrs[bits])), "bits must be 2, 3, 4 or 8")
          .require(size >= 0, "group_size must not be negative")
          .require(!call[factor] == !call[order] && !call[factor] == !call[dead],
                   "factor, order and dead belong together")
          .shape(w, {n, k})
          .dtype(w, {DType::F32})
          .shape(factor, {k, k})
          .dtype(factor, {DType::F32})
          .shape(order, {k})
          .dtype(order, {DType::I32})
          .shape(dead, {k})
          .dtype(dead, {DType::U8})
          .shape(codes, {n, k})
          .dtype(codes, {DType::U8})
          .shape(scales, {n, g})
          .dtype(scales, {DType::F32})
          .shape(zeros, {n, g})
          .dtype(zeros, {DType::U8})
          .shape(loss, {n})
          .dtype(loss, {DType::F32});
      for (size_t i = 0; i < spec.tensors.size(); ++i) {
        Checker(spec, call).contiguous(static_cast<int>(i));
      }
    }};

}  // namespace fewbit::ops::gptq_quantize
