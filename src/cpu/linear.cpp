#include "../ops/linear.h"

#include "checks.h"
#include "cpu_op.h"
#include "kernels.h"
#include "matmul.h"
#include "widened.h"

namespace fewbit::cpu {

namespace {

using namespace ops::linear;

void finish(float* y, int64_t cols, const float* shift, bool relu) {
  if (shift) {
    for (int64_t j = 0; j < cols; ++j) y[j] += shift[j];
  }
  if (relu) {
    for (int64_t j = 0; j < cols; ++j) y[j] = y[j] < 0 ? 0.0f : y[j];  // keeps a NaN
  }
}

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {x});
  require_float(spec, call, {bias});
  const int64_t m = call[out].shape[0], n = call[out].shape[1], k = call[x].cols();
  if (m == 0 || n == 0) return;
  const auto tile = kernels().matmul[static_cast<int>(call[weight].dtype)];
  const size_t size = size_of(call[weight].dtype);
  const float* shift = widened(call[bias], static_cast<float*>(call.workspace));
  const bool relu = call.attrs[activation] != 0;
  const MatmulTasks tasks(m, n, pool.threads());
  pool.parallel_for(tasks.count(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto [row, rows, col, cols] = tasks[i];
      const float* from = call[x].as<float>() + row * k;
      float* to = call[out].as<float>() + row * n;
      const int64_t step = cols_at_a_time(rows, cols);
      for (int64_t j = col; j < col + cols; j += step) {
        const int64_t width = std::min(step, col + cols - j);
        int64_t p = 0;
        do {  // once even when k is 0, to clear out
          tile(from + p, k, call[weight].as<char>() + (j * k + p) * size, k,
               std::min(kMatmulBlock, k - p), rows, width, to + j, n, p > 0);
          p += kMatmulBlock;
        } while (p < k);
        for (int64_t r = 0; r < rows; ++r) {
          finish(to + r * n + j, width, shift ? shift + j : nullptr, relu);
        }
      }
    }
  });
}

size_t workspace(const OpCall& call) {
  return call[bias] ? call[bias].elements() * sizeof(float) : 0;
}

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
