#include "../ops/relu2_mul.h"

#include "checks.h"
#include "cpu_op.h"
#include "kernels.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::relu2_mul;

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {gate});
  const Kernels& kernel = kernels();
  const int64_t cols = call[gate].cols();
  if (cols == 0) return;
  const int64_t gate_stride = call[gate].row_stride(), up_stride = call[up].row_stride();
  pool.parallel_for(call[gate].rows(), row_grain(cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      kernel.relu2_mul(call[gate].as<float>() + row * gate_stride,
                       call[up].as<float>() + row * up_stride, cols,
                       call[out].as<float>() + row * cols);
    }
  });
}

const CpuOp op(spec, run);

}  // namespace

}  // namespace fewbit::cpu
