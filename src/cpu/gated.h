// Gated activations: out = f(gate) * up, row by row; rows of gate and up may be spaced apart.
#pragma once

#include "kernels.h"
#include "parallel.h"

namespace fewbit::cpu {

using MultiplyGated = void (*)(const float* gate, const float* up, int64_t n, float* out);

inline void multiply_gated(const TensorView& gate, const TensorView& up, const TensorView& out,
                           MultiplyGated multiply, ThreadPool& pool) {
  const int64_t cols = gate.cols();
  if (cols == 0) return;
  pool.parallel_for(gate.rows(), row_grain(cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      multiply(gate.as<float>() + row * gate.row_stride(), up.as<float>() + row * up.row_stride(),
               cols, out.as<float>() + row * cols);
    }
  });
}

}  // namespace fewbit::cpu
