// out[r, :] = x[rows[r], :]; zeros where rows[r] < 0.
// x [T, D] and out [R, D] of one dtype; rows i32[R].
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::gather_rows {

enum Tensor { x, rows, out };

inline const OpSpec spec{"gather_rows",
                         {{"x", Access::Read}, {"rows", Access::Read}, {"out", Access::Write}},
                         {},
                         [](const OpCall& call) {
                           Checker(spec, call)
                               .shape(x, {-1, -1})
                               .shape(rows, {-1})
                               .dtype(rows, {DType::I32})
                               .shape(out, {call[rows].shape[0], call[x].cols()})
                               .same_dtype(out, x)
                               .contiguous(x)
                               .contiguous(out);
                         }};

}  // namespace fewbit::ops::gather_rows
