#include "../ops/int8_column_error.h"

#include <cmath>

#include "checks.h"
#include "cpu_op.h"
#include "kernels.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::int8_column_error;

constexpr int64_t kColumns = 256;  // of one piece of work

void run(const OpCall& call, ThreadPool& pool) {
  const Kernels& kernel = kernels();
  const TensorView& w = call[weight];
  const int64_t n = w.shape[0], k = w.shape[1], code_stride = call[codes].cols();
  const auto widen = kernel.widen[static_cast<int>(w.dtype)];
  const size_t size = size_of(w.dtype);
  pool.parallel_for(k, kColumns, [&](int64_t range_begin, int64_t range_end) {
    for (int64_t begin = range_begin; begin < range_end; begin += kColumns) {
      const int64_t cols = std::min(kColumns, range_end - begin);
      float values[kColumns];
      double errors[kColumns] = {}, squares[kColumns] = {};
      for (int64_t row = 0; row < n; ++row) {
        widen(w.as<char>() + (row * k + begin) * size, cols, values);
        const int8_t* code = call[codes].as<int8_t>() + row * code_stride + begin;
        const double step = call[scales].as<float>()[row] / 127.0;
        for (int64_t i = 0; i < cols; ++i) {
          const double error = values[i] - code[i] * step;
          errors[i] += error * error;
          squares[i] += double{values[i]} * values[i];
        }
      }
      float* to = call[out].as<float>() + begin;
      for (int64_t i = 0; i < cols; ++i) {
        to[i] = squares[i] == 0 ? 0.0f : static_cast<float>(std::sqrt(errors[i] / squares[i]));
      }
    }
  });
}

const CpuOp op(spec, run);

}  // namespace

}  // namespace fewbit::cpu
