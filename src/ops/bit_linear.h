// A BitLinear layer in one call (arXiv 2402.17764, section 2): bitnet_quantize, whose codes stay
// inside, and linear_bitnet on them. The tensors and attributes mean what they mean there, and every
// result is the same as that of the two ops. One call leaves it to the back end to do both in one
// kernel, which few rows gain most from.
// x, up float[M, K] of one dtype, rows may be spaced apart; norm float[K]; weight u8[N, Kp / 4];
// weight_scales f32[N]; bias float[N]; residual, out float[M, N], rows may be spaced apart.
// gate: the activation of bitnet_quantize, which needs up. activation: that of linear_bitnet.
#pragma once

#include "../core/op_spec.h"
#include "bitnet_layout.h"

namespace fewbit::ops::bit_linear {

enum Tensor { x, up, norm, weight, weight_scales, bias, residual, out };
enum Attr { gate, eps, activation };

inline const OpSpec spec{"bit_linear",
                         {{"x", Access::Read},
                          {"up", Access::Read, true},
                          {"norm", Access::Read, true},
                          {"weight", Access::Read},
                          {"weight_scales", Access::Read},
                          {"bias", Access::Read, true},
                          {"residual", Access::Read, true},
                          {"out", Access::Write}},
                         {"gate", "eps", "activation"},
                         [](const OpCall& call) {
                           const int64_t m = call[x].rows(), k = call[x].cols(),
                                         n = call[out].cols();
                           const int kind = static_cast<int>(call.attrs[gate]);
                           Checker(spec, call)
                               .shape(x, {-1, -1})
                               .dtype(x, {DType::F32, DType::F16, DType::BF16})
                               .shape(up, {m, k})
                               .same_dtype(up, x)
                               .shape(norm, {k})
                               .dtype(norm, {DType::F32, DType::F16, DType::BF16})
                               .require(kind >= 0 && kind <= 2, "gate must be 0, 1 or 2")
                               .require(kind == 0 || call[up], "a gate needs up")
                               .require(call.attrs[eps] >= 0, "eps must not be negative")
                               .shape(out, {m, -1})
                               .dtype(out, {DType::F32, DType::F16, DType::BF16})
                               .shape(residual, {m, n})
                               .same_dtype(residual, out)
                               .shape(weight, {n, bitnet::row_bytes(k)})
                               .dtype(weight, {DType::U8})
                               .shape(weight_scales, {n})
                               .dtype(weight_scales, {DType::F32})
                               .shape(bias, {n})
                               .dtype(bias, {DType::F32, DType::F16, DType::BF16})
                               .contiguous(norm)
                               .contiguous(weight)
                               .contiguous(weight_scales)
                               .contiguous(bias);
                         }};

}  // namespace fewbit::ops::bit_linear
