#include "../ops/layer_norm.h"

#include "checks.h"
#include "cpu_op.h"
#include "norm_rows.h"
#include "parallel.h"
#include "widened.h"

namespace fewbit::cpu {

namespace {

using namespace ops::layer_norm;

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {x});
  require_float(spec, call, {weight, bias});
  const int64_t cols = call[x].cols();
  if (cols == 0) return;
  float* buffer = static_cast<float*>(call.workspace);
  const NormRows norm{.x = call[x],
                      .residual = call[residual],
                      .weight = widened(call[weight], buffer),
                      .bias = widened(call[bias], buffer + cols),
                      .eps = static_cast<float>(call.attrs[eps]),
                      .centered = true};
  pool.parallel_for(call[x].rows(), row_grain(cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) norm.run(row, call[out].as<float>() + row * cols);
  });
}

size_t workspace(const OpCall& call) { return 2 * call[x].cols() * sizeof(float); }

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
