// What gptq_quantize needs of a Hessian (arXiv 2210.17323, section 3.3): an order of the input
// columns and the upper Cholesky factor U of the inverse, H^-1 = U^T U, both in that order.
//   dead[k] = h[k, k] == 0; such a column is given a diagonal of 1
//   order[p] = column at position p: 0 as they are; 1 by falling diagonal; 2 the same within each
//     group of group_size, and the groups by their largest diagonal, a short last group at the end.
//     Ties keep their order.
//   damp times the mean of the diagonal is added to it. If that is not positive definite, damp is
//   raised in steps (of itself, at least 0.01) below 1. used[0] = the damp that did, or -1 when
//   none did: factor is then the identity, which makes gptq_quantize round to nearest.
// Computed in double precision on the CPU.
// h f32[K, K], factor f32[K, K] (zero below the diagonal), order i32[K], dead u8[K], used f32[1].
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::gptq_factor {

enum Tensor { h, factor, order, dead, used };
enum Attr { ordering, group_size, damp };
enum Ordering { kAsIs, kByDiagonal, kWithinGroups };

inline const OpSpec spec{"gptq_factor",
                         {{"h", Access::Read},
                          {"factor", Access::Write},
                          {"order", Access::Write},
                          {"dead", Access::Write},
                          {"used", Access::Write}},
                         {"ordering", "group_size", "damp"},
                         [](const OpCall& call) {
                           const int64_t k = call[h].cols();
                           Checker(spec, call)
                               .shape(h, {k, k})
                               .dtype(h, {DType::F32})
                               .shape(factor, {k, k})
                               .dtype(factor, {DType::F32})
                               .shape(order, {k})
                               .dtype(order, {DType::I32})
                               .shape(dead, {k})
                               .dtype(dead, {DType::U8})
                               .shape(used, {1})
                               .dtype(used, {DType::F32})
                               .require(call.attrs[group_size] >= 1, "group_size must be >= 1")
                               .require(call.attrs[damp] >= 0, "damp must not be negative")
                               .contiguous(h)
                               .contiguous(factor)
                               .contiguous(order)
                               .contiguous(dead);
                         }};

}  // namespace fewbit::ops::gptq_factor
