// Rows of an RMS or layer norm, with the residual addition before it.
#pragma once

#include <cmath>

#include "../core/abi.h"
#include "kernels.h"

namespace fewbit::cpu {

struct NormRows {
  const TensorView& x;
  const TensorView& residual;  // x is added to it, if there is one
  const float* weight;         // or null
  const float* bias;           // or null
  float eps;
  bool centered;  // a layer norm
  const Kernels& kernel = kernels();

  void run(int64_t row, float* out) const {
    const int64_t cols = x.cols();
    const float* values = x.as<float>() + row * cols;
    if (residual) {
      float* sum = residual.as<float>() + row * cols;
      kernel.add(sum, values, cols, sum);
      values = sum;
    }
    const float count = static_cast<float>(cols);
    const float mean = centered ? kernel.sum(values, cols) / count : 0.0f;
    const float variance = kernel.sum_squares(values, cols, mean) / count;
    kernel.normalize(values, cols, mean, 1.0f / std::sqrt(variance + eps), weight, bias, out);
  }
};

}  // namespace fewbit::cpu
