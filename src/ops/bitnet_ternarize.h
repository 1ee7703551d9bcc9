// Ternary weights from full-precision ones (arXiv 2402.17764, equations 1 and 2):
//   ternary[n, k] = clamp(round_half_even(w[n, k] * (1 / gamma[0])), -1, 1)
// in fp32: one division, one multiplication per weight. A NaN becomes 0.
// w float[N, K], gamma f32[1] (bitnet_absmean), weight u8[N, Kp / 4] as bitnet_layout.h says.
#pragma once

#include "../core/op_spec.h"
#include "bitnet_layout.h"

namespace fewbit::ops::bitnet_ternarize {

enum Tensor { w, gamma, weight };

inline const OpSpec spec{"bitnet_ternarize",
                         {{"w", Access::Read}, {"gamma", Access::Read}, {"weight", Access::Write}},
                         {},
                         [](const OpCall& call) {
                           Checker(spec, call)
                               .shape(w, {-1, -1})
                               .dtype(w, {DType::F32, DType::F16, DType::BF16})
                               .shape(gamma, {1})
                               .dtype(gamma, {DType::F32})
                               .shape(weight, {call[w].rows(), bitnet::row_bytes(call[w].cols())})
                               .dtype(weight, {DType::U8})
                               .contiguous(w)
                               .contiguous(weight);
                         }};

}  // namespace fewbit::ops::bitnet_ternarize
