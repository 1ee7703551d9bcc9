// Codes of a weight from the order of gptq_layout.h, which gptq_repack leaves, into that of
// affine_codes.h, which linear_affine reads. Scales and zero points stay as they are.
// codes u8[N, bytes] and for 3 bits high u8[N, bytes] hold `positions` codes in a row;
// out_codes u8[N, bytes] (8 bits: i8, the code minus 128) and for 3 bits out_high u8[N, bytes].
#pragma once

#include "../core/op_spec.h"
#include "affine_codes.h"
#include "gptq_layout.h"

namespace fewbit::ops::affine_repack {

enum Tensor { codes, high, out_codes, out_high };
enum Attr { bits, positions };

inline const OpSpec spec{"affine_repack",
                         {{"codes", Access::Read},
                          {"high", Access::Read, true},
                          {"out_codes", Access::Write},
                          {"out_high", Access::Write, true}},
                         {"bits", "positions"},
                         [](const OpCall& call) {
                           const int width = static_cast<int>(call.attrs[bits]);
                           const auto k = static_cast<int64_t>(call.attrs[positions]);
                           const int64_t n = call[codes].rows();
                           const bool planes = width == 3;
                           Checker(spec, call)
                               .require(affine::is_weight_width(width), "bits must be 3, 4 or 8")
                               .require(k >= 0, "positions must not be negative")
                               .shape(codes, {-1, gptq::plane_bytes(k, gptq::low_width(width))})
                               .dtype(codes, {DType::U8})
                               .require(!call[high] == !planes && !call[out_high] == !planes,
                                        "high and out_high belong to 3 bits alone")
                               .shape(high, {n, gptq::plane_bytes(k, 1)})
                               .dtype(high, {DType::U8})
                               .shape(out_codes,
                                      {n, affine::plane_bytes(k, affine::low_width(width))})
                               .dtype(out_codes, {width == 8 ? DType::I8 : DType::U8})
                               .shape(out_high, {n, affine::plane_bytes(k, 1)})
                               .dtype(out_high, {DType::U8})
                               .contiguous(codes)
                               .contiguous(high)
                               .contiguous(out_codes)
                               .contiguous(out_high);
                         }};

}  // namespace fewbit::ops::affine_repack
