// A norm whose output is written in another order and, with a grid, as codes (RPTQ, arXiv
// 2304.01089): the reordering costs nothing here, and consumers have their columns in this order.
//   With a residual: residual += x first, and the sum is what is normalised.
//   y = v / sqrt(mean(v^2) + eps) * weight + bias                          (centered 0, RMS norm)
//   y = (v - mean(v)) / sqrt(var(v) + eps) * weight + bias                 (centered 1, layer norm)
//   out[m, j] = y[m, order[j]], without order y[m, j]; with a grid, its code on grid j
// Statistics and y are fp32; y is rounded once, to out. What a grid is says affine_codes.h.
// x, residual float[T, D] of one dtype; weight, bias float[D]; order i32[P], each in 0 .. D - 1;
// grid f32[2, P]; out of the dtype of x [T, P] for 16 bits, which means no grid, i8[T, P] for 8,
// u8[T, P / 2] for 4.
#pragma once

#include "../core/op_spec.h"
#include "affine_codes.h"

namespace fewbit::ops::norm_quantize {

enum Tensor { x, residual, weight, bias, order, grid, out };
enum Attr { centered, eps, bits };

inline const OpSpec spec{
    "norm_quantize",
    {{"x", Access::Read},
     {"residual", Access::Update, true},
     {"weight", Access::Read, true},
     {"bias", Access::Read, true},
     {"order", Access::Read, true},
     {"grid", Access::Read, true},
     {"out", Access::Write}},
    {"centered", "eps", "bits"},
    [](const OpCall& call) {
      const int64_t rows = call[x].rows(), cols = call[x].cols();
      const int width = static_cast<int>(call.attrs[bits]);
      Checker(spec, call)
          .require(width == 16 || affine::is_activation_width(width), "bits must be 16, 8 or 4")
          .require((width == 16) == !call[grid], "codes need a grid, and 16 bits take none")
          .require(call.attrs[centered] == 0 || call.attrs[centered] == 1,
                   "centered must be 0 or 1")
          .shape(x, {-1, -1})
          .dtype(x, {DType::F32, DType::F16, DType::BF16})
          .shape(residual, {rows, cols})
          .same_dtype(residual, x)
          .shape(weight, {cols})
          .shape(bias, {cols})
          .same_dtype(bias, weight)
          .shape(order, {-1})
          .dtype(order, {DType::I32});
      const int64_t p = call[order] ? call[order].elements() : cols;
      const DType dtype = width == 16 ? call[x].dtype : (width == 8 ? DType::I8 : DType::U8);
      Checker(spec, call)
          .require(p * width % 8 == 0, "codes of 4 bits come in pairs")
          .shape(grid, {2, p})
          .dtype(grid, {DType::F32})
          .shape(out, {rows, width == 16 ? p : affine::row_bytes(p, width)})
          .dtype(out, {dtype})
          .contiguous(x)
          .contiguous(residual)
          .contiguous(order)
          .contiguous(grid)
          .contiguous(out);
    }};

}  // namespace fewbit::ops::norm_quantize
