// The scale of a ternary weight (arXiv 2402.17764, equation 3):
//   gamma[0] = max(mean |w|, 1e-5)
// Partial sums are added in a fixed order and in double where they are many, so that gamma is exact
// to about a unit in its last place and the same in every run. A NaN or an infinity makes it NaN or
// infinite. An empty w gives 1e-5. (1e-5 is bitnet::kSmallest.)
// w float[N, K], gamma f32[1].
#pragma once

#include "../core/op_spec.h"
#include "bitnet_layout.h"

namespace fewbit::ops::bitnet_absmean {

enum Tensor { w, gamma };

inline const OpSpec spec{
    "bitnet_absmean", {{"w", Access::Read}, {"gamma", Access::Write}}, {}, [](const OpCall& call) {
      Checker(spec, call)
          .shape(w, {-1, -1})
          .dtype(w, {DType::F32, DType::F16, DType::BF16})
          .shape(gamma, {1})
          .dtype(gamma, {DType::F32})
          .contiguous(w);
    }};

}  // namespace fewbit::ops::bitnet_absmean
