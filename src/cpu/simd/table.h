// Fills a table with the loops of one vector type.
#pragma once

#include "codes.h"
#include "half_tags.h"
#include "matmul.h"
#include "rows.h"

namespace fewbit::cpu::simd {

// Everything but the products of codes and sum_s8, whose instructions differ too much.
template <class V>
void fill(Kernels& table) {
  table.matmul[0] = matmul<V, float>;
  table.matmul[1] = matmul<V, F16>;
  table.matmul[2] = matmul<V, BF16>;
  table.widen[1] = widen<V, F16>;
  table.widen[2] = widen<V, BF16>;
  table.narrow[1] = narrow<V, F16>;
  table.narrow[2] = narrow<V, BF16>;
  table.add = add<V>;
  table.multiply = multiply<V>;
  table.silu_mul = silu_mul<V>;
  table.relu2_mul = relu2_mul<V>;
  table.sum = sum<V>;
  table.sum_squares = sum_squares<V>;
  table.normalize = normalize<V>;
  table.max = max<V>;
  table.exp_sum = exp_sum<V>;
  table.rank_update = rank_update<V>;
  table.absmax = absmax<V>;
  table.mark_outliers = mark_outliers<V>;
  table.quantize = quantize<V>;
  table.quantize_grid = quantize_grid<V>;
  table.dequantize = dequantize<V>;
}

}  // namespace fewbit::cpu::simd
