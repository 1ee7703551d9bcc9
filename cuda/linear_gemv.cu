// linear for up to four rows: see common/gemv.cuh.
#include "common/activation.cuh"
#include "common/gemv.cuh"
#include "linear/linear.h"

namespace fewbit::cuda {

namespace {

struct LinearResult {
  static constexpr bool kHasPart = false;

  const void* bias;
  DType bias_dtype;
  void* out;
  DType out_dtype;
  int64_t columns;
  Activation activation;

  __device__ __forceinline__ void store(int64_t column, int64_t row, float sum, float) const {
    if (bias) sum += load_float(bias, bias_dtype, column);
    store_float(out, out_dtype, row * columns + column, activate(sum, activation));
  }
};

}  // namespace

void linear_by_gemv(const Linear& linear, Context& context) {
  with_half(linear.dtype, "linear: x", [&](auto zero) {
    using T = decltype(zero);
    const GemvOperands<T> operands{static_cast<const T*>(linear.weight),
                                   static_cast<const T*>(linear.x), linear.columns, linear.depth};
    const LinearResult result{linear.bias,    linear.bias_dtype,
                              linear.out,     linear.out_dtype,
                              linear.columns, static_cast<Activation>(linear.activation)};
    launch_gemv("linear", operands, linear.rows, result, context);
  });
}

}  // namespace fewbit::cuda
