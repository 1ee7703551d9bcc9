// out[s, n] = x[n, columns[s]]: picked columns of a matrix, each made a contiguous row.
// x [N, K] and out [S, N] of one float dtype; columns i32[S], every value in 0 .. K-1.
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::gather_columns {

enum Tensor { x, columns, out };

inline const OpSpec spec{"gather_columns",
                         {{"x", Access::Read}, {"columns", Access::Read}, {"out", Access::Write}},
                         {},
                         [](const OpCall& call) {
                           Checker(spec, call)
                               .shape(x, {-1, -1})
                               .dtype(x, {DType::F32, DType::F16, DType::BF16})
                               .shape(columns, {-1})
                               .dtype(columns, {DType::I32})
                               .shape(out, {call[columns].shape[0], call[x].rows()})
                               .same_dtype(out, x)
                               .contiguous(x)
                               .contiguous(out);
                         }};

}  // namespace fewbit::ops::gather_columns
