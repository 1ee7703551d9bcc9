#include "../ops/layer_norm.h"

#include <cmath>

#include "checks.h"
#include "cpu_op.h"
#include "kernels.h"
#include "parallel.h"
#include "widened.h"

namespace fewbit::cpu {

namespace {

using namespace ops::layer_norm;

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {x});
  require_float(spec, call, {weight, bias});
  const Kernels& kernel = kernels();
  const int64_t cols = call[x].cols();
  if (cols == 0) return;
  float* buffer = static_cast<float*>(call.workspace);
  const float* w = widened(call[weight], buffer);
  const float* shift = widened(call[bias], buffer + cols);
  const float epsilon = static_cast<float>(call.attrs[eps]);
  const float count = static_cast<float>(cols);
  pool.parallel_for(call[x].rows(), row_grain(cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* values = call[x].as<float>() + row * cols;
      if (call[residual]) {
        float* sum = call[residual].as<float>() + row * cols;
        kernel.add(sum, values, cols, sum);
        values = sum;
      }
      const float mean = kernel.sum(values, cols) / count;
      const float variance = kernel.sum_squares(values, cols, mean) / count;
      kernel.normalize(values, cols, mean, 1.0f / std::sqrt(variance + epsilon), w, shift,
                       call[out].as<float>() + row * cols);
    }
  });
}

size_t workspace(const OpCall& call) { return 2 * call[x].cols() * sizeof(float); }

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
