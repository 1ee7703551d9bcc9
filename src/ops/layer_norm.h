// With a residual: residual += x first, and the sum is what is normalised.
// out = (v - mean(v)) / sqrt(var(v) + eps) * weight + bias, over the last axis, statistics in fp32.
// x, residual, out float[T, D] of one dtype; weight, bias float[D]. out may be x.
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::layer_norm {

enum Tensor { x, residual, weight, bias, out };
enum Attr { eps };

inline const OpSpec spec{"layer_norm",
                         {{"x", Access::Read},
                          {"residual", Access::Update, true},
                          {"weight", Access::Read, true},
                          {"bias", Access::Read, true},
                          {"out", Access::Write}},
                         {"eps"},
                         [](const OpCall& call) {
                           const int64_t rows = call[x].rows(), cols = call[x].cols();
                           Checker(spec, call)
                               .shape(x, {-1, -1})
                               .dtype(x, {DType::F32, DType::F16, DType::BF16})
                               .shape(residual, {rows, cols})
                               .shape(weight, {cols})
                               .shape(bias, {cols})
                               .shape(out, {rows, cols})
                               .same_dtype(residual, x)
                               .same_dtype(out, x)
                               .same_dtype(bias, weight)
                               .contiguous(x)
                               .contiguous(residual)
                               .contiguous(out);
                         }};

}  // namespace fewbit::ops::layer_norm
