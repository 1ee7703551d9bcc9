// out = max(gate, 0)^2 * up, computed in fp32: the gated unit of BitNet b1.58 2B4T (arXiv
// 2504.12285). A NaN stays. gate, up, out float[T, I] of one dtype; the result leaves the range of
// f16 soon (a gate of 256 is enough) and is then infinite there.
// Rows of gate and up may be spaced apart (halves of one fused projection).
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::relu2_mul {

enum Tensor { gate, up, out };

inline const OpSpec spec{"relu2_mul",
                         {{"gate", Access::Read}, {"up", Access::Read}, {"out", Access::Write}},
                         {},
                         [](const OpCall& call) {
                           const int64_t rows = call[gate].rows(), cols = call[gate].cols();
                           Checker(spec, call)
                               .shape(gate, {-1, -1})
                               .dtype(gate, {DType::F32, DType::F16, DType::BF16})
                               .shape(up, {rows, cols})
                               .shape(out, {rows, cols})
                               .same_dtype(up, gate)
                               .same_dtype(out, gate)
                               .contiguous(out);
                         }};

}  // namespace fewbit::ops::relu2_mul
