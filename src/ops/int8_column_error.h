// How well int8 codes represent each column of a weight (0 for a zero column):
//   out[k] = sqrt( sum_n (w[n, k] - codes[n, k] * scales[n] / 127)^2 / sum_n w[n, k]^2 )
// weight float[N, K], codes i8[>=N, Kp], scales f32[>=N], out f32[K].
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::int8_column_error {

enum Tensor { weight, codes, scales, out };

inline const OpSpec spec{"int8_column_error",
                         {{"weight", Access::Read},
                          {"codes", Access::Read},
                          {"scales", Access::Read},
                          {"out", Access::Write}},
                         {},
                         [](const OpCall& call) {
                           const int64_t n = call[weight].rows(), k = call[weight].cols();
                           Checker(spec, call)
                               .shape(weight, {-1, -1})
                               .dtype(weight, {DType::F32, DType::F16, DType::BF16})
                               .shape(codes, {-1, -1})
                               .dtype(codes, {DType::I8})
                               .dtype(scales, {DType::F32})
                               .require(call[codes].shape[0] >= n && call[codes].shape[1] >= k &&
                                            call[scales].elements() >= n,
                                        "codes and scales must cover the weight")
                               .shape(out, {k})
                               .dtype(out, {DType::F32})
                               .contiguous(weight)
                               .contiguous(codes);
                         }};

}  // namespace fewbit::ops::int8_column_error
