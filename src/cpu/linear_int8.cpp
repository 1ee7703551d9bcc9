#include "../ops/linear_int8.h"

#include "../core/half.h"
#include "checks.h"
#include "cpu_op.h"
#include "kernels.h"
#include "matmul.h"
#include "outlier_part.h"
#include "parallel.h"
#include "widened.h"

namespace fewbit::cpu {

namespace {

using namespace ops::linear_int8;

// Codes that a tile sums before the next rows' turn; a tile of x then stays in the first-level
// cache.
constexpr int64_t kBlock = 4096;

int64_t blocks_of(int64_t k) { return (k + kBlock - 1) / kBlock; }

struct Matmul {
  const OpCall& call;
  const Kernels& kernel;
  const int64_t n, k;
  const float* shift;     // the bias, or null
  const int32_t* x_sums;  // of each row, for each block of k
  const OutlierPart outliers;
  const bool bitsandbytes, relu;

  // The exact products of a tile, whose rows are kTaskCols apart.
  void multiply(const MatmulTasks::Task& task, int32_t* sums) const {
    const int64_t blocks = blocks_of(k);
    const int64_t step = cols_at_a_time(task.rows, task.cols);
    for (int64_t j = 0; j < task.cols; j += step) {
      for (int64_t block = 0; block < blocks; ++block) {
        const int64_t p = block * kBlock;
        kernel.matmul_s8(call[codes].as<int8_t>() + task.row * k + p, k,
                         x_sums + block * call[out].shape[0] + task.row,
                         call[weight].as<int8_t>() + (task.col + j) * k + p, k,
                         std::min(kBlock, k - p), task.rows, std::min(step, task.cols - j),
                         sums + j, kTaskCols, block > 0);
      }
    }
  }

  void run(const MatmulTasks::Task& task) const {
    int32_t sums[kTaskRows * kTaskCols];
    multiply(task, sums);
    float* y = call[out].as<float>() + task.row * n + task.col;
    const float* step = call[weight_scales].as<float>() + task.col;
    const float* bias_of = shift ? shift + task.col : nullptr;
    for (int64_t r = 0; r < task.rows; ++r) {
      kernel.dequantize(sums + r * kTaskCols, task.cols, call[scales].as<float>()[task.row + r],
                        step, bias_of, y + r * n);
      if (bitsandbytes) round_to_half(y + r * n, task.cols);
    }
    if (!outliers.empty()) {
      outliers.add(task.row, task.rows, task.col, task.cols, y, n);
      for (int64_t r = 0; bitsandbytes && r < task.rows; ++r) round_to_half(y + r * n, task.cols);
    }
    for (int64_t r = 0; relu && r < task.rows; ++r) {
      for (int64_t j = 0; j < task.cols; ++j) {
        float& value = y[r * n + j];
        value = value < 0 ? 0.0f : value;  // keeps a NaN
      }
    }
  }

  void round_to_half(float* y, int64_t cols) const {
    constexpr int kF16 = static_cast<int>(DType::F16);
    uint16_t halves[kTaskCols];
    kernel.narrow[kF16](y, cols, halves);
    kernel.widen[kF16](halves, cols, y);
  }
};

void sum_codes(const OpCall& call, ThreadPool& pool, int32_t* x_sums) {
  const Kernels& kernel = kernels();
  const int64_t m = call[out].shape[0], k = call[weight].shape[1];
  pool.parallel_for(m, row_grain(k), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t block = 0; block < blocks_of(k); ++block) {
        const int64_t p = block * kBlock;
        x_sums[block * m + row] =
            kernel.sum_s8(call[codes].as<int8_t>() + row * k + p, std::min(kBlock, k - p));
      }
    }
  });
}

void check_columns(const OpCall& call) {
  if (!call[columns]) return;
  const int64_t k = call[x].shape[1];
  const int32_t found = *call[count].as<int32_t>();
  require_range(spec, count, 0, found, 0, k + 1);
  if (call[weight].shape[1] < k) {
    throw Error("ERR_FEWBIT_SHAPE", "linear_int8: weight " + describe(call[weight]) +
                                        " has fewer columns than x " + describe(call[x]));
  }
  for (int32_t i = 0; i < found; ++i) {
    const int32_t column = call[columns].as<int32_t>()[i];
    require_range(spec, columns, i, column, 0, k);
    if (!call[kept]) continue;
    const int32_t slot = call[kept_slots].as<int32_t>()[column];
    if (slot >= 0) require_range(spec, kept_slots, column, slot, 0, call[kept].shape[0]);
  }
}

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {x, out});
  require_float(spec, call, {bias, kept});
  check_columns(call);
  const int64_t m = call[out].shape[0], n = call[out].shape[1], k = call[weight].shape[1];
  if (m == 0 || n == 0) return;
  auto* x_sums = static_cast<int32_t*>(call.workspace);
  sum_codes(call, pool, x_sums);
  float* buffer = reinterpret_cast<float*>(x_sums + m * blocks_of(k));
  const bool bitsandbytes = call.attrs[mode] != 0;
  const Matmul matmul{call,
                      kernels(),
                      n,
                      k,
                      widened(call[bias], buffer),
                      x_sums,
                      OutlierPart(call, bitsandbytes),
                      bitsandbytes,
                      call.attrs[activation] != 0};
  const MatmulTasks tasks(m, n, pool.threads());
  pool.parallel_for(tasks.count(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) matmul.run(tasks[i]);
  });
}

size_t workspace(const OpCall& call) {
  const int64_t sums = call[out].shape[0] * blocks_of(call[weight].shape[1]);
  return sums * sizeof(int32_t) + call[out].shape[1] * sizeof(float);
}

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
