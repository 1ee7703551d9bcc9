// out[t, :] = table[ids[t] + offset, :]                    (accumulate = 0)
// out[t, :] += table[ids[t] + offset, :]                   (accumulate = 1)
// A negative id marks a padding row: it yields zeros (or leaves the accumulated row alone); so does
// a row outside the table, which callers rule out before.
// ids i32[T], table float[V, D], out float[T, D].
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::embedding {

enum Tensor { ids, table, out };
enum Attr { offset, accumulate };

inline const OpSpec spec{"embedding",
                         {{"ids", Access::Read}, {"table", Access::Read}, {"out", Access::Update}},
                         {"offset", "accumulate"},
                         [](const OpCall& call) {
                           Checker(spec, call)
                               .shape(ids, {-1})
                               .dtype(ids, {DType::I32})
                               .shape(table, {-1, -1})
                               .dtype(table, {DType::F32, DType::F16, DType::BF16})
                               .shape(out, {call[ids].shape[0], call[table].shape[1]})
                               .dtype(out, {DType::F32, DType::F16, DType::BF16})
                               .contiguous(ids)
                               .contiguous(table)
                               .contiguous(out);
                         }};

}  // namespace fewbit::ops::embedding
