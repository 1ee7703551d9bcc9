// A linear layer on codes of activations and of weights (RPTQ, arXiv 2304.01089). The scale of each
// activation column is part of the weight, and its zero point of the bias, so that neither is here:
//   acc[m, n, g] = sum over columns k of group g of (code[n, k] - zeros[n, g]) * x[m, k]
//   out[m, n]    = activation(sum_g scales[n, g] * acc[m, n, g] + bias[n])
// acc is exact in int32; the sum over groups is fp32. Group g has columns g * group_size and up, the
// last one may be short. activation: 0 none, 1 relu. M and N are any, K and group_size are multiples
// of 32.
// x is i8[M, K] or (x_bits 4) u8[M, K / 2], weights are codes[N, bytes] and for 3 bits
// high u8[N, bytes], all as affine_codes.h says: of 8 bits i8, else u8. scales float[N, G];
// zeros u8[N, G], below 2^bits, which 8 bits do not have (theirs is 128); bias float[N];
// out float[M, N], whose rows may be spaced apart. On the CPU out is f32.
#pragma once

#include "../core/op_spec.h"
#include "affine_codes.h"

namespace fewbit::ops::linear_affine {

enum Tensor { x, codes, high, scales, zeros, bias, out };
enum Attr { x_bits, bits, group_size, activation };

inline int64_t columns(const OpCall& call) {
  return call[x].cols() * 8 / static_cast<int64_t>(call.attrs[x_bits]);
}

inline const OpSpec spec{
    "linear_affine",
    {{"x", Access::Read},
     {"codes", Access::Read},
     {"high", Access::Read, true},
     {"scales", Access::Read},
     {"zeros", Access::Read, true},
     {"bias", Access::Read, true},
     {"out", Access::Write}},
    {"x_bits", "bits", "group_size", "activation"},
    [](const OpCall& call) {
      const int x_width = static_cast<int>(call.attrs[x_bits]);
      const int width = static_cast<int>(call.attrs[bits]);
      const auto size = static_cast<int64_t>(call.attrs[group_size]);
      Checker(spec, call)
          .require(affine::is_activation_width(x_width), "x_bits must be 8 or 4")
          .require(affine::is_weight_width(width), "bits must be 3, 4 or 8")
          .require(size >= affine::kAlignment && size % affine::kAlignment == 0,
                   "group_size must be a multiple of 32")
          .shape(x, {-1, -1})
          .dtype(x, {x_width == 8 ? DType::I8 : DType::U8})
          .shape(out, {call[x].rows(), -1})
          .dtype(out, {DType::F32, DType::F16, DType::BF16});
      const int64_t n = call[out].cols(), k = columns(call);
      Checker(spec, call)
          .require(k % affine::kAlignment == 0, "the columns of x must be a multiple of 32")
          .shape(codes, {n, affine::plane_bytes(k, affine::low_width(width))})
          .dtype(codes, {width == 8 ? DType::I8 : DType::U8})
          .require(!call[high] == (width != 3), "high belongs to 3 bits alone")
          .shape(high, {n, affine::plane_bytes(k, 1)})
          .dtype(high, {DType::U8})
          .shape(scales, {n, (k + size - 1) / size})
          .dtype(scales, {DType::F32, DType::F16, DType::BF16})
          .require(!call[zeros] == (width == 8), "zeros belong to 3 and 4 bits, which need them")
          .shape(zeros, {n, (k + size - 1) / size})
          .dtype(zeros, {DType::U8})
          .shape(bias, {n})
          .contiguous(x)
          .contiguous(codes)
          .contiguous(high)
          .contiguous(scales)
          .contiguous(zeros)
          .contiguous(bias);
    }};

}  // namespace fewbit::ops::linear_affine
