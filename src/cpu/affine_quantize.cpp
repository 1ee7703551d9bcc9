#include "../ops/affine_quantize.h"

#include "checks.h"
#include "cpu_op.h"
#include "grid_rows.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::affine_quantize;

auto multiply_by(const Kernels& kernel, int activation) {
  switch (activation) {
    case Silu:
      return kernel.silu_mul;
    case Relu2:
      return kernel.relu2_mul;
    default:
      return kernel.multiply;
  }
}

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {x});
  const int64_t cols = call[x].cols();
  const int64_t count = call[order] ? call[order].elements() : cols;
  if (count == 0) return;
  for (int64_t j = 0; call[order] && j < count; ++j) {
    require_range(spec, order, j, call[order].as<int32_t>()[j], 0, cols);
  }
  const auto multiply = multiply_by(kernels(), static_cast<int>(call.attrs[activation]));
  const GridRows rows(call[order], call[grid], call[codes], count,
                      static_cast<int>(call.attrs[bits]));
  pool.parallel_for(call[x].rows(), row_grain(cols), [&](int64_t begin, int64_t end) {
    std::vector<float> products(call[up] ? cols : 0);
    GridRows::Scratch scratch(rows);
    for (int64_t row = begin; row < end; ++row) {
      const float* values = call[x].as<float>() + row * call[x].row_stride();
      if (call[up]) {
        const float* factors = call[up].as<float>() + row * call[up].row_stride();
        multiply(values, factors, cols, products.data());
        values = products.data();
      }
      rows.write(values, row, scratch);
    }
  });
}

const CpuOp op(spec, run);

}  // namespace

}  // namespace fewbit::cpu
