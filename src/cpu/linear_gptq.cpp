#include "../ops/linear_gptq.h"

#include "checks.h"
#include "cpu_op.h"
#include "gptq_rows.h"
#include "kernels.h"
#include "matmul.h"
#include "parallel.h"
#include "widened.h"

namespace fewbit::cpu {

namespace {

using namespace ops::linear_gptq;

// Rows of the weight that are dequantized at a time for a tall x; a tile stays in the cache.
constexpr int64_t kTileRows = 16;

// x in the order of positions, in the workspace where it is not so already.
const float* ordered(const OpCall& call, ThreadPool& pool, float* buffer) {
  if (!call[order]) return call[x].as<float>();
  const int64_t m = call[x].rows(), k = call[x].cols(), count = positions(call);
  const auto* columns = call[order].as<int32_t>();
  for (int64_t p = 0; p < count; ++p) require_range(spec, order, p, columns[p], -1, k);
  pool.parallel_for(m, row_grain(count), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* from = call[x].as<float>() + row * k;
      float* to = buffer + row * count;
      for (int64_t p = 0; p < count; ++p) to[p] = columns[p] < 0 ? 0.0f : from[columns[p]];
    }
  });
  return buffer;
}

struct Matmul {
  const OpCall& call;
  const Kernels& kernel = kernels();
  const GptqRows weight;
  const float* input;  // [M, P]
  const float* shift;  // the bias, or null
  const int64_t depth = positions(call);

  void run(const MatmulTasks::Task& task) const {
    const int64_t step = std::min(cols_at_a_time(task.rows, task.cols), kTileRows);
    for (int64_t j = task.col; j < task.col + task.cols; j += step) {
      const int64_t width = std::min(step, task.col + task.cols - j);
      if (task.rows <= kernel.gptq_rows && weight.aligned()) {
        multiply_few(task, j, width);
      } else {
        multiply(task, j, width);
      }
      finish(task, j, width);
    }
  }

 private:
  float* out_at(int64_t row, int64_t col) const {
    return call[out].as<float>() + row * call[out].row_stride() + col;
  }

  void multiply(const MatmulTasks::Task& task, int64_t col, int64_t width) const {
    alignas(64) float rows[kTileRows * kMatmulBlock];  // vectors do not straddle cache lines
    int64_t p = 0;
    do {  // once even when there are no positions, to clear out
      const int64_t count = std::min(kMatmulBlock, depth - p);
      for (int64_t j = 0; j < width; ++j) {
        weight.dequantize(col + j, p, count, rows + j * kMatmulBlock);
      }
      kernel.matmul[static_cast<int>(DType::F32)](
          input + task.row * depth + p, depth, rows, kMatmulBlock, count, task.rows, width,
          out_at(task.row, col), call[out].row_stride(), p > 0);
      p += kMatmulBlock;
    } while (p < depth);
  }

  // For width <= 4, without a copy of the weights.
  void multiply_few(const MatmulTasks::Task& task, int64_t col, int64_t width) const {
    int64_t p = 0;
    do {
      const int64_t count = std::min(kMatmulBlock, depth - p);
      GptqSpan spans[4];
      for (int64_t j = 0; j < 4; ++j) {
        spans[j] = weight.span(col + std::min(j, width - 1), p, count);
      }
      kernel.matmul_gptq(input + task.row * depth + p, depth, spans, task.rows, width,
                         out_at(task.row, col), call[out].row_stride(), p > 0);
      p += kMatmulBlock;
    } while (p < depth);
  }

  void finish(const MatmulTasks::Task& task, int64_t col, int64_t width) const {
    const bool relu = call.attrs[activation] != 0;
    for (int64_t r = 0; r < task.rows; ++r) {
      float* y = out_at(task.row + r, col);
      for (int64_t j = 0; shift && j < width; ++j) y[j] += shift[col + j];
      for (int64_t j = 0; relu && j < width; ++j) y[j] = y[j] < 0 ? 0.0f : y[j];  // keeps a NaN
    }
  }
};

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {x, out});
  const int64_t m = call[out].rows(), n = call[out].cols();
  if (m == 0 || n == 0) return;
  auto* buffer = static_cast<float*>(call.workspace);
  const float* scale = widened(call[scales], buffer);
  buffer += call[scales].elements();
  const float* shift = widened(call[bias], buffer);
  const float* input = ordered(call, pool, buffer + n);
  const Matmul matmul{.call = call, .weight = {call, scale}, .input = input, .shift = shift};
  const MatmulTasks tasks(m, n, pool.threads());
  pool.parallel_for(tasks.count(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) matmul.run(tasks[i]);
  });
}

size_t workspace(const OpCall& call) {
  const int64_t gathered = call[order] ? call[x].rows() * positions(call) : 0;
  return (call[scales].elements() + call[out].cols() + gathered) * sizeof(float);
}

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
