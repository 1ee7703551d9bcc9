// The matrix product of a BitLinear layer (arXiv 2402.17764, section 2), on what bitnet_quantize
// left:
//   acc[m, n] = sum_k codes[m, k] * ternary[n, k]                     (exact, int32)
//             = sum_k codes[m, k] * code[n, k] - sums[m]
//   y[m, n]   = activation(acc * scales[m] * weight_scales[n] + bias[n])
//   out[m, n] = y[m, n]                 [residual] residual[m, n] + y[m, n]
// in fp32, multiplied from left to right; y is rounded to the dtype of out, and so is its sum with the
// residual. acc is exact as a float while 127 * K < 2^24. It is the same on every back end, for any M, N
// and K.
// weight_scales has an entry per row, so that layers with one scale each can be stacked.
// activation: 0 none, 1 relu. M is out's. Rows of out and residual may be spaced apart: layers with the
// same input can write side by side. out may be the residual itself, which is then added to in place. A
// NaN among scales makes its row NaN, also after relu.
// codes i8[>=M, Kp], 0 in padding; scales f32[>=M]; sums i32[>=M]; weight u8[N, Kp / 4] as
// bitnet_layout.h says; weight_scales f32[N]; bias float[N]; residual, out float[M, N] of one dtype.
#pragma once

#include "../core/op_spec.h"
#include "bitnet_layout.h"

namespace fewbit::ops::linear_bitnet {

enum Tensor { codes, scales, sums, weight, weight_scales, bias, residual, out };
enum Attr { activation };

inline const OpSpec spec{
    "linear_bitnet",
    {{"codes", Access::Read},
     {"scales", Access::Read},
     {"sums", Access::Read},
     {"weight", Access::Read},
     {"weight_scales", Access::Read},
     {"bias", Access::Read, true},
     {"residual", Access::Read, true},
     {"out", Access::Write}},
    {"activation"},
    [](const OpCall& call) {
      const int64_t m = call[out].rows(), n = call[out].cols();
      const int64_t kp = call[codes].cols();
      Checker(spec, call)
          .shape(out, {-1, -1})
          .dtype(out, {DType::F32, DType::F16, DType::BF16})
          .shape(residual, {m, n})
          .same_dtype(residual, out)
          .shape(codes, {-1, -1})
          .dtype(codes, {DType::I8})
          .require(kp % bitnet::kAlignment == 0, "codes must be padded to a multiple of 64 columns")
          .shape(scales, {-1})
          .dtype(scales, {DType::F32})
          .shape(sums, {-1})
          .dtype(sums, {DType::I32})
          .require(
              call[codes].shape[0] >= m && call[scales].shape[0] >= m && call[sums].shape[0] >= m,
              "codes, scales and sums must have at least the rows of out")
          .shape(weight, {n, kp / 4})
          .dtype(weight, {DType::U8})
          .shape(weight_scales, {n})
          .dtype(weight_scales, {DType::F32})
          .shape(bias, {n})
          .dtype(bias, {DType::F32, DType::F16, DType::BF16})
          .contiguous(codes)
          .contiguous(scales)
          .contiguous(sums)
          .contiguous(weight)
          .contiguous(weight_scales)
          .contiguous(bias);
    }};

}  // namespace fewbit::ops::linear_bitnet
