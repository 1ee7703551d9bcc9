#include "../ops/rms_norm.h"

#include <cmath>

#include "checks.h"
#include "cpu_op.h"
#include "kernels.h"
#include "parallel.h"
#include "widened.h"

namespace fewbit::cpu {

namespace {

using namespace ops::rms_norm;

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {x});
  require_float(spec, call, {weight});
  const Kernels& kernel = kernels();
  const int64_t cols = call[x].cols();
  if (cols == 0) return;
  const float* w = widened(call[weight], static_cast<float*>(call.workspace));
  const float epsilon = static_cast<float>(call.attrs[eps]);
  pool.parallel_for(call[x].rows(), row_grain(cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* values = call[x].as<float>() + row * cols;
      if (call[residual]) {
        float* sum = call[residual].as<float>() + row * cols;
        kernel.add(sum, values, cols, sum);
        values = sum;
      }
      const float mean_square = kernel.sum_squares(values, cols, 0.0f) / static_cast<float>(cols);
      kernel.normalize(values, cols, 0.0f, 1.0f / std::sqrt(mean_square + epsilon), w, nullptr,
                       call[out].as<float>() + row * cols);
    }
  });
}

size_t workspace(const OpCall& call) { return call[x].cols() * sizeof(float); }

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
