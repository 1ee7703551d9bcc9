// The activations of a BitLinear layer (arXiv 2402.17764, section 2): absmax int8 codes per token,
// with what comes before it fused in. Steps in brackets are there when their tensor is.
//   v[m, k]     = x[m, k]
//                 [up] activation(x[m, k]) * up[m, k]
//   r[m]        = 1                               [weight] sqrt(mean_k v[m, k]^2 + eps)
//   w[m, k]     = v[m, k]                         [weight] v[m, k] * weight[k]
//   largest[m]  = max(max_k |w[m, k]|, 1e-5 * r[m])
//   codes[m, k] = round_half_even(w[m, k] * (127 * (1 / largest[m])))   in -127 .. 127; 0 for k >= K
//   scales[m]   = largest[m] / (127 * r[m])       so that codes * scales is what was quantized
//   sums[m]     = sum_k codes[m, k]
// In words: RMSNorm, then absmax quantization to 127 / max(absmax, 1e-5). The factor is rounded twice,
// as torch does it, where a number divided by a tensor is the number times the reciprocal: which way
// a tie falls depends on that. The root mean square divides out of the codes, which is why it is not
// applied to them: each code is then a function of few roundings, the same on every back end however
// the mean was summed, unless 1e-5 decides. It also makes both reductions one pass.
//
// All of it is fp32 on values of any float dtype: nothing is rounded to 16 bits in between. So squared
// ReLU, which leaves the range of fp16, is safe here. (1e-5 is bitnet::kSmallest.) A row in which some |w| is infinite or NaN, or whose r is, has codes and sum 0
// and scale NaN. A row of zeros has codes 0 and the scale that the formula gives.
// activation: 0 none, 1 silu (x * sigmoid(x)), 2 relu2 (p * p with p = max(x, 0); a NaN stays); its
// value is then multiplied by up. It needs up.
// x, up float[M, K] of one dtype, rows may be spaced apart (halves of one fused projection);
// weight float[K];
// codes i8[>=M, Kp] with Kp = bitnet::padded(K), scales f32[>=M], sums i32[>=M].
#pragma once

#include "../core/op_spec.h"
#include "bitnet_layout.h"

namespace fewbit::ops::bitnet_quantize {

enum Tensor { x, up, weight, codes, scales, sums };
enum Attr { activation, eps };
enum Activation { None = 0, Silu = 1, Relu2 = 2 };

inline const OpSpec spec{
    "bitnet_quantize",
    {{"x", Access::Read},
     {"up", Access::Read, true},
     {"weight", Access::Read, true},
     {"codes", Access::Write},
     {"scales", Access::Write},
     {"sums", Access::Write}},
    {"activation", "eps"},
    [](const OpCall& call) {
      const int64_t m = call[x].rows(), k = call[x].cols();
      const int kind = static_cast<int>(call.attrs[activation]);
      Checker(spec, call)
          .shape(x, {-1, -1})
          .dtype(x, {DType::F32, DType::F16, DType::BF16})
          .shape(up, {m, k})
          .same_dtype(up, x)
          .shape(weight, {k})
          .dtype(weight, {DType::F32, DType::F16, DType::BF16})
          .shape(codes, {-1, bitnet::padded(k)})
          .dtype(codes, {DType::I8})
          .shape(scales, {-1})
          .dtype(scales, {DType::F32})
          .shape(sums, {-1})
          .dtype(sums, {DType::I32})
          .require(
              call[codes].shape[0] >= m && call[scales].shape[0] >= m && call[sums].shape[0] >= m,
              "codes, scales and sums must have at least the rows of x")
          .require(kind >= None && kind <= Relu2, "activation must be 0, 1 or 2")
          .require(kind == None || call[up], "an activation needs up")
          .require(call.attrs[eps] > 0 || !call[weight], "eps must be positive")
          .contiguous(weight)
          .contiguous(codes)
          .contiguous(scales)
          .contiguous(sums);
    }};

}  // namespace fewbit::ops::bitnet_quantize
