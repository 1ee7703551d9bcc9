// What the ops of a BitLinear layer have in common: their operands, out of a call's tensors. Those that
// a call leaves out are null, with strides of 0: kernels ask whether strides are multiples of a vector.
#pragma once

#include "../../src/core/abi.h"
#include "../common/captured.h"
#include "product.cuh"
#include "quantize.h"

namespace fewbit::cuda::bitnet {

// Without codes, scales, sums and the columns they are padded to, which are not input.
inline Quantize quantize_input(const TensorView& x, const TensorView& up, const TensorView& norm,
                               double gate, double eps) {
  Quantize q{};
  q.x = x.data;
  q.dtype = x.dtype;
  q.x_stride = x.row_stride();
  q.up = up.data;
  q.up_stride = up ? up.row_stride() : 0;
  q.weight = norm.data;
  q.weight_dtype = norm.dtype;
  q.rows = x.rows();
  q.cols = x.cols();
  q.activation = static_cast<Gate>(static_cast<int>(gate));
  q.eps = static_cast<float>(eps);
  return q;
}

// Without codes, scales, sums and depth: what a call multiplies comes from elsewhere.
inline Product product_into(const TensorView& out, const TensorView& weight,
                            const TensorView& weight_scales, const TensorView& bias,
                            const TensorView& residual, double activation, const Context& context) {
  Product p{};
  p.weight = weight.as<uint8_t>();
  p.weight_scales = weight_scales.as<float>();
  p.bias = bias.data;
  p.bias_dtype = bias.dtype;
  p.residual = residual.data;
  p.residual_stride = residual ? residual.row_stride() : 0;
  p.rows = out.rows();
  p.columns = out.cols();
  p.out = out.data;
  p.out_dtype = out.dtype;
  p.out_stride = out.row_stride();
  p.activation = static_cast<Activation>(static_cast<int>(activation));
  p.weights_settled = is_captured(context);
  return p;
}

}  // namespace fewbit::cuda::bitnet
