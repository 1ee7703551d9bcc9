// out = x in the float dtype of out, rounded to nearest even. Same size, contiguous.
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::cast {

enum Tensor { x, out };

inline const OpSpec spec{
    "cast", {{"x", Access::Read}, {"out", Access::Write}}, {}, [](const OpCall& call) {
      Checker(spec, call)
          .dtype(x, {DType::F32, DType::F16, DType::BF16})
          .dtype(out, {DType::F32, DType::F16, DType::BF16})
          .require(call[x].elements() == call[out].elements(), "out must have the size of x")
          .contiguous(x)
          .contiguous(out);
    }};

}  // namespace fewbit::ops::cast
