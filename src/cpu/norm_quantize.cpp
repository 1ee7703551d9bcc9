#include "../ops/norm_quantize.h"

#include "checks.h"
#include "cpu_op.h"
#include "grid_rows.h"
#include "norm_rows.h"
#include "parallel.h"
#include "widened.h"

namespace fewbit::cpu {

namespace {

using namespace ops::norm_quantize;

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {x});
  require_float(spec, call, {weight, bias});
  const int64_t cols = call[x].cols();
  if (cols == 0) return;
  const int64_t count = call[order] ? call[order].elements() : cols;
  for (int64_t j = 0; call[order] && j < count; ++j) {
    require_range(spec, order, j, call[order].as<int32_t>()[j], 0, cols);
  }
  float* buffer = static_cast<float*>(call.workspace);
  const NormRows norm{.x = call[x],
                      .residual = call[residual],
                      .weight = widened(call[weight], buffer),
                      .bias = widened(call[bias], buffer + cols),
                      .eps = static_cast<float>(call.attrs[eps]),
                      .centered = call.attrs[centered] != 0};
  const GridRows rows(call[order], call[grid], call[out], count,
                      static_cast<int>(call.attrs[bits]));
  pool.parallel_for(call[x].rows(), row_grain(cols), [&](int64_t begin, int64_t end) {
    std::vector<float> values(cols);
    GridRows::Scratch scratch(rows);
    for (int64_t row = begin; row < end; ++row) {
      norm.run(row, values.data());
      rows.write(values.data(), row, scratch);
    }
  });
}

size_t workspace(const OpCall& call) { return 2 * call[x].cols() * sizeof(float); }

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
