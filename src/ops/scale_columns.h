// x[t, k] *= scale[k], in place. x float[T, K], scale f32[K].
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::scale_columns {

enum Tensor { x, scale };

inline const OpSpec spec{
    "scale_columns", {{"x", Access::Update}, {"scale", Access::Read}}, {}, [](const OpCall& call) {
      Checker(spec, call)
          .shape(x, {-1, -1})
          .dtype(x, {DType::F32, DType::F16, DType::BF16})
          .shape(scale, {call[x].cols()})
          .dtype(scale, {DType::F32})
          .contiguous(x);
    }};

}  // namespace fewbit::ops::scale_columns
