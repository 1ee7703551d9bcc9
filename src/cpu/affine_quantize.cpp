#include "../ops/affine_quantize.h"

#include <algorithm>
#include <cmath>
#include <vector>

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

// Blocks of `width` neighbours times Hadamard's matrix, over the square root of width.
void rotate(float* values, int64_t count, int64_t width) {
  for (int64_t half = 1; half < width; half *= 2) {
    for (int64_t first = 0; first < count; first += 2 * half) {
      for (int64_t i = first; i < first + half; ++i) {
        const float a = values[i], b = values[i + half];
        values[i] = a + b;
        values[i + half] = a - b;
      }
    }
  }
  const auto factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(width)));
  for (int64_t i = 0; i < count; ++i) values[i] *= factor;
}

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {x});
  const int64_t cols = call[x].cols();
  const int64_t count = call[order] ? call[order].elements() : cols;
  if (count == 0) return;
  for (int64_t j = 0; call[order] && j < count; ++j) {
    require_range(spec, order, j, call[order].as<int32_t>()[j], 0, cols);
  }
  const auto block = static_cast<int64_t>(call.attrs[rotation]);
  const auto multiply = multiply_by(kernels(), static_cast<int>(call.attrs[activation]));
  const GridRows rows(call[order], call[grid], call[codes], count,
                      static_cast<int>(call.attrs[bits]));
  pool.parallel_for(call[x].rows(), row_grain(cols), [&](int64_t begin, int64_t end) {
    std::vector<float> made(call[up] || block ? cols : 0);
    GridRows::Scratch scratch(rows);
    for (int64_t row = begin; row < end; ++row) {
      const float* values = call[x].as<float>() + row * call[x].row_stride();
      if (call[up]) {
        const float* factors = call[up].as<float>() + row * call[up].row_stride();
        multiply(values, factors, cols, made.data());
        values = made.data();
      }
      if (block) {
        if (!call[up]) std::copy_n(values, cols, made.data());
        rotate(made.data(), cols, block);
        values = made.data();
      }
      rows.write(values, row, scratch);
    }
  });
}

const CpuOp op(spec, run);

}  // namespace

}  // namespace fewbit::cpu
