// The operands of the op linear_bitnet (src/ops/linear_bitnet.h), and what turns an int32 sum of
// code products into a result. All kernels finish alike, so a result does not depend on which of
// them computed it.
#pragma once

#include "../common/activation.cuh"
#include "../common/convert.cuh"

namespace fewbit::cuda::bitnet {

struct Product {
  const int8_t* codes;         // [rows, depth]
  const float* scales;         // [rows]
  const int32_t* sums;         // [rows], of the codes of a row
  const uint8_t* weight;       // [columns, depth / 4]
  const float* weight_scales;  // [columns]
  const void* bias;            // [columns], or null
  DType bias_dtype;
  const void* residual;  // [rows, columns] of the dtype of out, or null; may be out
  int64_t residual_stride;
  int64_t rows, columns, depth;  // depth is a multiple of 64

  void* out;  // [rows, columns], rows out_stride apart
  DType out_dtype;
  int64_t out_stride;
  Activation activation;
  // The weights were complete before any kernel that may still run began, so that they may be read
  // ahead of wait_for_predecessor().
  bool weights_settled;

  __host__ __device__ int64_t row_bytes() const { return depth / 4; }

  __device__ __forceinline__ float bias_at(int64_t column) const {
    return bias ? load_float(bias, bias_dtype, column) : 0.0f;
  }

  // products: the sum of codes times weights plus one, as the weights are stored.
  static __device__ __forceinline__ float scaled(int32_t products, int32_t code_sum, float scale,
                                                 float weight_scale) {
    return __fmul_rn(__fmul_rn(static_cast<float>(products - code_sum), scale), weight_scale);
  }

  // Whether finish() is no more than scaled().
  __host__ __device__ __forceinline__ bool is_plain() const {
    return !bias && activation == Activation::None;
  }

  __device__ __forceinline__ float finish(int32_t products, int32_t code_sum, float scale,
                                          float weight_scale, float bias_value) const {
    float value = scaled(products, code_sum, scale, weight_scale);
    if (bias) value = __fadd_rn(value, bias_value);
    return activate(value, activation);
  }

  __device__ __forceinline__ float residual_at(int64_t row, int64_t column) const {
    return residual ? load_float(residual, out_dtype, row * residual_stride + column) : 0.0f;
  }

  __device__ __forceinline__ void store(int64_t row, int64_t column, float value) const {
    store_float(out, out_dtype, row * out_stride + column, value);
  }

  // The same with a residual, if there is one. before: residual_at() of the same place.
  __device__ __forceinline__ void store(int64_t row, int64_t column, float value,
                                        float before) const {
    store(row, column, residual ? __fadd_rn(before, round_to(out_dtype, value)) : value);
  }
};

// What rows of X bring to their results.
template <int Rows>
struct RowTerms {
  float scale[Rows];
  int32_t code_sum[Rows];
};

}  // namespace fewbit::cuda::bitnet
