// Codes of activations on static grids (affine_codes.h), with the gated unit before it fused in, and
// a rotation after it:
//   v[m, k]     = x[m, k]                          [up] activation(x[m, k]) * up[m, k], in fp32
//   codes[m, j] = the code of v[m, order[j]] on grid j;  without order, of v[m, j]
// rotation: 0, or the width B of the blocks of a row, a power of two from 8 to 256 that divides K; v is
// then H v / sqrt(B) in each block, with H Sylvester's Hadamard matrix: in fp32, as log2(B) stages
//   (v[i], v[i + h]) = (v[i] + v[i + h], v[i] - v[i + h])   for h = 1, 2, 4 .. B / 2
// and a product with 1 / sqrt(B), rounded to fp32. It takes no order.
// activation: 0 none, 1 silu (x * sigmoid(x)), 2 relu2 (p * p with p = max(x, 0); a NaN stays); its
// value is then multiplied by up. It needs up.
// x, up float[M, K] of one dtype, rows may be spaced apart (halves of one fused projection);
// order i32[P], each in 0 .. K - 1; grid f32[2, P]; codes i8[M, P] for 8 bits, u8[M, P / 2] for 4.
#pragma once

#include "../core/op_spec.h"
#include "affine_codes.h"

namespace fewbit::ops::affine_quantize {

enum Tensor { x, up, order, grid, codes };
enum Attr { activation, bits, rotation };
enum Activation { None = 0, Silu = 1, Relu2 = 2 };

constexpr int kLargestRotation = 256;

constexpr bool is_rotation(int64_t width) {
  return width >= 8 && width <= kLargestRotation && (width & (width - 1)) == 0;
}

inline const OpSpec spec{"affine_quantize",
                         {{"x", Access::Read},
                          {"up", Access::Read, true},
                          {"order", Access::Read, true},
                          {"grid", Access::Read},
                          {"codes", Access::Write}},
                         {"activation", "bits", "rotation"},
                         [](const OpCall& call) {
                           const int64_t m = call[x].rows(), k = call[x].cols();
                           const int kind = static_cast<int>(call.attrs[activation]);
                           const int width = static_cast<int>(call.attrs[bits]);
                           const auto block = static_cast<int64_t>(call.attrs[rotation]);
                           Checker(spec, call)
                               .require(affine::is_activation_width(width), "bits must be 8 or 4")
                               .require(kind >= None && kind <= Relu2,
                                        "activation must be 0, 1 or 2")
                               .require(kind == None || call[up], "an activation needs up")
                               .require(block == 0 || (is_rotation(block) && k % block == 0),
                                        "rotation must be 0, or a power of two from 8 to 256 that "
                                        "divides the columns")
                               .require(block == 0 || !call[order], "a rotation takes no order")
                               .shape(x, {-1, -1})
                               .dtype(x, {DType::F32, DType::F16, DType::BF16})
                               .shape(up, {m, k})
                               .same_dtype(up, x)
                               .shape(order, {-1})
                               .dtype(order, {DType::I32});
                           const int64_t p = call[order] ? call[order].elements() : k;
                           Checker(spec, call)
                               .require(p * width % 8 == 0, "codes of 4 bits come in pairs")
                               .shape(grid, {2, p})
                               .dtype(grid, {DType::F32})
                               .shape(codes, {m, affine::row_bytes(p, width)})
                               .dtype(codes, {width == 8 ? DType::I8 : DType::U8})
                               .contiguous(order)
                               .contiguous(grid)
                               .contiguous(codes);
                         }};

}  // namespace fewbit::ops::affine_quantize
