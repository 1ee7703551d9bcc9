#include "../ops/gptq_hessian.h"

#include <cmath>

#include "checks.h"
#include "cpu_op.h"
#include "kernels.h"
#include "matmul.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::gptq_hessian;

// x^T, times a factor.
void transpose(const OpCall& call, ThreadPool& pool, float factor, float* out) {
  const int64_t m = call[x].rows(), k = call[x].cols();
  constexpr int64_t kColumns = 16;  // a cache line of x
  pool.parallel_for(k, kColumns, [&](int64_t begin, int64_t end) {
    for (int64_t row = 0; row < m; ++row) {
      const float* from = call[x].as<float>() + row * k;
      for (int64_t col = begin; col < end; ++col) out[col * m + row] = from[col] * factor;
    }
  });
}

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {x});
  const int64_t m = call[x].rows(), k = call[x].cols();
  auto* columns = static_cast<float*>(call.workspace);
  transpose(call, pool, static_cast<float>(std::sqrt(call.attrs[scale])), columns);
  const MatmulTile tile = kernels().matmul[static_cast<int>(DType::F32)];
  const auto keeps = static_cast<float>(call.attrs[keep]);
  auto* sums = call[h].as<float>();
  const MatmulTasks tasks(k, k, pool.threads());
  pool.parallel_for(tasks.count(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto [row, rows, col, cols] = tasks[i];
      if (col + cols <= row) continue;  // below the diagonal
      for (int64_t r = row; r < row + rows; ++r) {
        for (int64_t j = col; j < col + cols; ++j) sums[r * k + j] *= keeps;
      }
      for (int64_t p = 0; p < m; p += kMatmulBlock) {
        tile(columns + row * m + p, m, columns + col * m + p, m, std::min(kMatmulBlock, m - p),
             rows, cols, sums + row * k + col, k, true);
      }
    }
  });
  pool.parallel_for(k, row_grain(k), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t col = 0; col < row; ++col) sums[row * k + col] = sums[col * k + row];
    }
  });
}

size_t workspace(const OpCall& call) { return call[x].elements() * sizeof(float); }

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
