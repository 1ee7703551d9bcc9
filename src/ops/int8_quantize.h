// Vector-wise absmax quantization with the outlier split of LLM.int8()
// (arXiv 2208.07339, section 3).
//   columns     = sorted { k : max_m |x[m, k]| >= threshold }, their number in count;
//                 none if threshold = 0
//   scales[m]   = max |x[m, k]| over k not in columns                       (mode 0, paper)
//               = max |x[m, k]| over all k with |x[m, k]| < threshold       (mode 1, bitsandbytes)
//   codes[m, k] = clamp(round_half_even(x[m, k] * (127 / scales[m])), -127, 127);
//                 0 in outlier columns, in columns K .. Kp and in a row whose scale is 0
// The arithmetic is fp32: one division per row, one multiplication per value. A NaN among the
// values that count for a row makes its scale NaN (and so its output), and its codes 0. With
// threshold 0 an infinity does the same; with a threshold it is an outlier and goes through the
// 16-bit path.
// stats, when given: stats[0] += M * (columns that went to int8), stats[1] += M * K.
// x float[M, K]; codes i8[>=M, Kp], Kp >= K; scales f32[>=M]; columns i32[K]; count i32[1];
// stats i64[2].
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::int8_quantize {

enum Tensor { x, codes, scales, columns, count, stats };
enum Attr { threshold, mode };
enum Mode { Paper = 0, Bitsandbytes = 1 };

inline const OpSpec spec{
    "int8_quantize",
    {{"x", Access::Read},
     {"codes", Access::Write},
     {"scales", Access::Write},
     {"columns", Access::Write, true},
     {"count", Access::Write, true},
     {"stats", Access::Update, true}},
    {"threshold", "mode"},
    [](const OpCall& call) {
      const int64_t m = call[x].rows(), k = call[x].cols();
      Checker(spec, call)
          .shape(x, {-1, -1})
          .dtype(x, {DType::F32, DType::F16, DType::BF16})
          .shape(codes, {-1, -1})
          .dtype(codes, {DType::I8})
          .require(call[codes].shape[0] >= m && call[codes].shape[1] >= k,
                   "codes must have at least the rows and columns of x")
          .shape(scales, {-1})
          .dtype(scales, {DType::F32})
          .require(call[scales].shape[0] >= m, "scales must have an entry per row of x")
          .shape(columns, {k})
          .dtype(columns, {DType::I32})
          .shape(count, {1})
          .dtype(count, {DType::I32})
          .shape(stats, {2})
          .dtype(stats, {DType::I64})
          .require(call.attrs[threshold] >= 0, "threshold must not be negative")
          .require(call.attrs[threshold] == 0 || (call[columns] && call[count]),
                   "a threshold needs columns and count")
          .contiguous(x)
          .contiguous(codes);
    }};

}  // namespace fewbit::ops::int8_quantize
