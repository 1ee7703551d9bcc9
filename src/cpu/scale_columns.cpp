#include "../ops/scale_columns.h"

#include "checks.h"
#include "cpu_op.h"
#include "kernels.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::scale_columns;

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {x});
  const Kernels& kernel = kernels();
  const int64_t cols = call[x].cols();
  if (cols == 0) return;
  pool.parallel_for(call[x].rows(), row_grain(cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* values = call[x].as<float>() + row * cols;
      kernel.multiply(values, call[scale].as<float>(), cols, values);
    }
  });
}

const CpuOp op(spec, run);

}  // namespace

}  // namespace fewbit::cpu
