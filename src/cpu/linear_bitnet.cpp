#include "../ops/linear_bitnet.h"

#include <algorithm>

#include "checks.h"
#include "cpu_op.h"
#include "kernels.h"
#include "matmul.h"
#include "parallel.h"
#include "ternary_order.h"
#include "widened.h"

namespace fewbit::cpu {

namespace {

using namespace ops::linear_bitnet;

// Codes that a tile sums before the next rows' turn (see linear_int8).
constexpr int64_t kBlock = 4096;
constexpr int32_t kNothing[kTaskRows] = {};

struct Matmul {
  const OpCall& call;
  const int8_t* input;  // the codes in ternary order
  const float* shift;   // the bias, or null
  const Kernels& kernel = kernels();
  const int64_t k = call[codes].cols();

  void run(const MatmulTasks::Task& task) const {
    int32_t products[kTaskRows * kTaskCols];
    multiply(task, products);
    for (int64_t r = 0; r < task.rows; ++r) finish(task, r, products + r * kTaskCols);
  }

 private:
  // The exact products of a tile, whose rows are kTaskCols apart.
  void multiply(const MatmulTasks::Task& task, int32_t* products) const {
    const int64_t step = cols_at_a_time(task.rows, task.cols);
    for (int64_t j = 0; j < task.cols; j += step) {
      for (int64_t p = 0; p < k; p += kBlock) {
        // The sums of whole rows are taken off with the first block.
        const int32_t* offsets = p == 0 ? call[sums].as<int32_t>() + task.row : kNothing;
        kernel.matmul_ternary(input + task.row * k + p, k, offsets,
                              call[weight].as<int8_t>() + ((task.col + j) * k + p) / 4, k / 4,
                              std::min(kBlock, k - p), task.rows, std::min(step, task.cols - j),
                              products + j, kTaskCols, p > 0);
      }
    }
  }

  void finish(const MatmulTasks::Task& task, int64_t r, const int32_t* products) const {
    const int64_t row = task.row + r;
    const float scale = call[scales].as<float>()[row];
    const float* step = call[weight_scales].as<float>() + task.col;
    float y[kTaskCols];
    for (int64_t j = 0; j < task.cols; ++j)
      y[j] = static_cast<float>(products[j]) * scale * step[j];
    for (int64_t j = 0; shift && j < task.cols; ++j) y[j] += shift[task.col + j];
    const bool relu = call.attrs[activation] != 0;
    for (int64_t j = 0; relu && j < task.cols; ++j) y[j] = y[j] < 0 ? 0.0f : y[j];  // keeps a NaN
    if (call[residual]) {
      const float* before =
          call[residual].as<float>() + row * call[residual].row_stride() + task.col;
      for (int64_t j = 0; j < task.cols; ++j) y[j] += before[j];
    }
    std::copy_n(y, task.cols, call[out].as<float>() + row * call[out].row_stride() + task.col);
  }
};

const int8_t* reordered(const OpCall& call, ThreadPool& pool, int8_t* buffer) {
  const int64_t m = call[out].rows(), k = call[codes].cols();
  pool.parallel_for(m, row_grain(k), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      to_ternary_order(call[codes].as<int8_t>() + row * k, k, buffer + row * k);
    }
  });
  return buffer;
}

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {out});
  const int64_t m = call[out].rows(), n = call[out].cols();
  if (m == 0 || n == 0 || call[codes].cols() == 0) return;
  auto* buffer = static_cast<float*>(call.workspace);
  const Matmul matmul{call, reordered(call, pool, reinterpret_cast<int8_t*>(buffer + n)),
                      widened(call[bias], buffer)};
  const MatmulTasks tasks(m, n, pool.threads());
  pool.parallel_for(tasks.count(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) matmul.run(tasks[i]);
  });
}

size_t workspace(const OpCall& call) {
  return call[out].cols() * sizeof(float) + call[out].rows() * call[codes].cols();
}

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
