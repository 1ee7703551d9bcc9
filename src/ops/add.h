// out = a + b, elementwise. All of one float dtype and shape, contiguous. out may be a or b.
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::add {

enum Tensor { a, b, out };

inline const OpSpec spec{
    "add",
    {{"a", Access::Read}, {"b", Access::Read}, {"out", Access::Write}},
    {},
    [](const OpCall& call) {
      Checker(spec, call)
          .dtype(a, {DType::F32, DType::F16, DType::BF16})
          .same_dtype(b, a)
          .same_dtype(out, a)
          .require(call[b].elements() == call[a].elements(), "a and b must have the same size")
          .require(call[out].elements() == call[a].elements(), "out must have the size of a")
          .contiguous(a)
          .contiguous(b)
          .contiguous(out);
    }};

}  // namespace fewbit::ops::add
