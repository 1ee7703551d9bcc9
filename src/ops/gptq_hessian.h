// h = keep * h + scale * x^T x: the Hessian of a linear layer's squared error, gathered batch by
// batch. To have the mean of 2 x x^T over n rows seen so far and t more, keep = n / (n + t) and
// scale = 2 / (n + t). Accumulated in fp32; h comes out symmetric to the bit.
// x float[M, K], h f32[K, K].
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::gptq_hessian {

enum Tensor { x, h };
enum Attr { keep, scale };

inline const OpSpec spec{"gptq_hessian",
                         {{"x", Access::Read}, {"h", Access::Update}},
                         {"keep", "scale"},
                         [](const OpCall& call) {
                           const int64_t k = call[x].cols();
                           Checker(spec, call)
                               .shape(x, {-1, -1})
                               .dtype(x, {DType::F32, DType::F16, DType::BF16})
                               .shape(h, {k, k})
                               .dtype(h, {DType::F32})
                               .require(call.attrs[scale] >= 0, "scale must not be negative")
                               .contiguous(x)
                               .contiguous(h);
                         }};

}  // namespace fewbit::ops::gptq_hessian
