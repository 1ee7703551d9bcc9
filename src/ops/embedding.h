// out[t, :] = table[ids[t] + offset, :]                    (accumulate = 0)
// out[t, :] += table[ids[t] + offset, :]                   (accumulate = 1)
// A negative id marks a padding row: it yields zeros (or leaves the accumulated row alone); so does
// a row outside the table, which callers rule out before.
// With scales the table holds codes of int8_quantize, and stands for table[v, :] * (scales[v] / 127).
// ids i32[T]; table float[V, D], or i8[>=V, >=D] with scales f32[V]; out float[T, D].
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::embedding {

enum Tensor { ids, table, scales, out };
enum Attr { offset, accumulate };

inline int64_t vocabulary(const OpCall& call) {
  return call[scales] ? call[scales].elements() : call[table].rows();
}

inline const OpSpec spec{
    "embedding",
    {{"ids", Access::Read},
     {"table", Access::Read},
     {"scales", Access::Read, true},
     {"out", Access::Update}},
    {"offset", "accumulate"},
    [](const OpCall& call) {
      const bool coded = call[table].dtype == DType::I8;
      Checker(spec, call)
          .shape(ids, {-1})
          .dtype(ids, {DType::I32})
          .shape(table, {-1, -1})
          .dtype(table, {DType::F32, DType::F16, DType::BF16, DType::I8})
          .shape(scales, {-1})
          .dtype(scales, {DType::F32})
          .require(coded == bool(call[scales]),
                   "scales belong to a table of codes, which needs them")
          .shape(out, {call[ids].shape[0], coded ? -1 : call[table].cols()})
          .require(call[out].cols() <= call[table].cols() && vocabulary(call) <= call[table].rows(),
                   "table must have at least the rows of scales and the columns of out")
          .dtype(out, {DType::F32, DType::F16, DType::BF16})
          .contiguous(ids)
          .contiguous(table)
          .contiguous(scales)
          .contiguous(out);
    }};

}  // namespace fewbit::ops::embedding
