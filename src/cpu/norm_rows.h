// Rows of an RMS or layer norm, with the residual addition before it.
#pragma once

#include <cmath>

#include "../core/abi.h"
#include "kernels.h"
#include "parallel.h"
#include "widened.h"

namespace fewbit::cpu {

class NormRows {
 public:
  // x is added to residual, if there is one; weight and bias may be absent. workspace, of
  // workspace_bytes, is kept in use.
  NormRows(const TensorView& x, const TensorView& residual, const TensorView& weight,
           const TensorView& bias, double eps, bool centered, void* workspace)
      : x_(x),
        residual_(residual),
        weight_(widened(weight, static_cast<float*>(workspace))),
        bias_(widened(bias, static_cast<float*>(workspace) + x.cols())),
        eps_(static_cast<float>(eps)),
        centered_(centered) {}

  static size_t workspace_bytes(const TensorView& x) { return 2 * x.cols() * sizeof(float); }

  void run(int64_t row, float* out) const {
    const int64_t cols = x_.cols();
    const float* values = x_.as<float>() + row * cols;
    if (residual_) {
      float* sum = residual_.as<float>() + row * cols;
      kernel_.add(sum, values, cols, sum);
      values = sum;
    }
    const float count = static_cast<float>(cols);
    const float mean = centered_ ? kernel_.sum(values, cols) / count : 0.0f;
    const float variance = kernel_.sum_squares(values, cols, mean) / count;
    kernel_.normalize(values, cols, mean, 1.0f / std::sqrt(variance + eps_), weight_, bias_, out);
  }

  // out float[T, D] of contiguous rows.
  void run_all(float* out, ThreadPool& pool) const {
    const int64_t cols = x_.cols();
    pool.parallel_for(x_.rows(), row_grain(cols), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) run(row, out + row * cols);
    });
  }

 private:
  const TensorView& x_;
  const TensorView& residual_;
  const float* weight_;
  const float* bias_;
  float eps_;
  bool centered_;  // a layer norm
  const Kernels& kernel_ = kernels();
};

}  // namespace fewbit::cpu
