// out[t] = log(sum_v exp(logits[t, v])) - logits[t, targets[t]], in fp32; 0 where targets[t] < 0.
// logits f32[T, V], targets i32[T], out f32[T].
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::token_nll {

enum Tensor { logits, targets, out };

inline const OpSpec spec{
    "token_nll",
    {{"logits", Access::Read}, {"targets", Access::Read}, {"out", Access::Write}},
    {},
    [](const OpCall& call) {
      const int64_t rows = call[logits].rows();
      Checker(spec, call)
          .shape(logits, {-1, -1})
          .dtype(logits, {DType::F32})
          .shape(targets, {rows})
          .dtype(targets, {DType::I32})
          .shape(out, {rows})
          .dtype(out, {DType::F32})
          .contiguous(logits);
    }};

}  // namespace fewbit::ops::token_nll
