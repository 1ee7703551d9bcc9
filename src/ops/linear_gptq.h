// A linear layer with GPTQ weights (arXiv 2210.17323) of 2, 3, 4 or 8 bits:
//   w[n, p] = scales[n, p / group_size] * (code[n, p] - zeros[n, p / group_size])
//   out[m, n] = activation(sum_p x[m, order[p]] * w[n, p] + bias[n])
// accumulated in fp32. order i32[P] says which column of x stands at a position; -1 is padding and
// counts as x = 0. Without order P = K and position p is column p. The last group may be short.
// activation: 0 none, 1 relu. M is any.
// x float[M, K], codes u8[N, bytes] and for 3 bits high u8[N, bytes] as gptq_layout.h says,
// scales float[N, G], zeros u8[N, G], all below 2^bits, bias float[N], out[M, N] of the dtype of x,
// or f32. Rows of out may be spaced apart: layers with the same input can write side by side.
// On the CPU x is f32; scales and bias may be of any float dtype on every back end.
#pragma once

#include "../core/op_spec.h"
#include "gptq_layout.h"

namespace fewbit::ops::linear_gptq {

enum Tensor { x, codes, high, scales, zeros, order, bias, out };
enum Attr { bits, group_size, activation };

inline int64_t positions(const OpCall& call) {
  return call[order] ? call[order].elements() : call[x].cols();
}

inline const OpSpec spec{
    "linear_gptq",
    {{"x", Access::Read},
     {"codes", Access::Read},
     {"high", Access::Read, true},
     {"scales", Access::Read},
     {"zeros", Access::Read},
     {"order", Access::Read, true},
     {"bias", Access::Read, true},
     {"out", Access::Write}},
    {"bits", "group_size", "activation"},
    [](const OpCall& call) {
      const int width = static_cast<int>(call.attrs[bits]);
      Checker(spec, call)
          .require(gptq::is_width(width), "bits must be 2, 3, 4 or 8")
          .require(call.attrs[group_size] >= 1, "group_size must be at least 1")
          .shape(x, {-1, -1})
          .dtype(x, {DType::F32, DType::F16, DType::BF16})
          .shape(order, {-1})
          .shape(out, {call[x].rows(), -1});
      const int64_t n = call[out].cols(), p = positions(call);
      const int64_t g = gptq::group_count(p, static_cast<int64_t>(call.attrs[group_size]));
      Checker(spec, call)
          .dtype(order, {DType::I32})
          .shape(codes, {n, gptq::plane_bytes(p, gptq::low_width(width))})
          .dtype(codes, {DType::U8})
          .require(!call[high] == (width != 3), "high belongs to 3 bits alone")
          .shape(high, {n, gptq::plane_bytes(p, 1)})
          .dtype(high, {DType::U8})
          .shape(scales, {n, g})
          .dtype(scales, {DType::F32, DType::F16, DType::BF16})
          .shape(zeros, {n, g})
          .dtype(zeros, {DType::U8})
          .shape(bias, {n})
          .require(call[out].dtype == call[x].dtype || call[out].dtype == DType::F32,
                   "out must be f32 or have the dtype of x")
          .contiguous(x)
          .contiguous(codes)
          .contiguous(high)
          .contiguous(scales)
          .contiguous(zeros)
          .contiguous(order)
          .contiguous(bias);
    }};

}  // namespace fewbit::ops::linear_gptq
