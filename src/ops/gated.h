// What ops share that multiply an activated gate by up, element by element: gate, up, out float[T, I]
// of one dtype. Rows of gate and up may be spaced apart (halves of one fused projection).
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::gated {

enum Tensor { gate, up, out };

inline std::vector<TensorSpec> tensors() {
  return {{"gate", Access::Read}, {"up", Access::Read}, {"out", Access::Write}};
}

inline void check(const OpSpec& spec, const OpCall& call) {
  const int64_t rows = call[gate].rows(), cols = call[gate].cols();
  Checker(spec, call)
      .shape(gate, {-1, -1})
      .dtype(gate, {DType::F32, DType::F16, DType::BF16})
      .shape(up, {rows, cols})
      .shape(out, {rows, cols})
      .same_dtype(up, gate)
      .same_dtype(out, gate)
      .contiguous(out);
}

}  // namespace fewbit::ops::gated
