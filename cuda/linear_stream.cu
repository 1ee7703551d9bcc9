// The 16-bit linear for few rows: weights straight from memory into the tensor cores.
#include "common/activation.cuh"
#include "common/stream_matmul.cuh"
#include "linear/linear.h"

namespace fewbit::cuda {

namespace {

// The sums get their bias and activation on the way out; nothing is staged.
struct LinearEpilogue {
  static constexpr int kWarps = 0;
  struct Shared {};

  const void* bias;
  DType bias_dtype;
  void* out;
  DType out_dtype;
  int64_t columns;
  Activation activation;

  __device__ __forceinline__ void stage(Shared&, int64_t, int64_t, int) const {}

  __device__ __forceinline__ void store(const Shared&, int64_t column, int64_t row, int, int,
                                        float sum) const {
    if (column >= columns) return;
    if (bias) sum += load_float(bias, bias_dtype, column);
    store_float(out, out_dtype, row * columns + column, activate(sum, activation));
  }
};

template <class T>
StreamOperands<T> operands_of(const Linear& linear) {
  return {static_cast<const T*>(linear.weight), static_cast<const T*>(linear.x), linear.columns,
          linear.rows, linear.depth};
}

LinearEpilogue epilogue_of(const Linear& linear) {
  return {linear.bias,      linear.bias_dtype, linear.out,
          linear.out_dtype, linear.columns,    static_cast<Activation>(linear.activation)};
}

}  // namespace

bool linear_aligned(const Linear& linear) {
  const size_t bytes = size_of(linear.dtype);
  return vector_aligned(linear.x, linear.depth, bytes) &&
         vector_aligned(linear.weight, linear.depth, bytes);
}

void linear_streaming(const Linear& linear, Context& context) {
  with_half(linear.dtype, "linear: x", [&](auto zero) {
    using T = decltype(zero);
    const StreamOperands<T> operands = operands_of<T>(linear);
    const LinearEpilogue epilogue = epilogue_of(linear);
    if (!linear_aligned(linear)) {
      launch_stream<1, 2, 1, false>("linear", operands, epilogue, context);
    } else if (linear.rows <= 8) {
      launch_stream<1, 1, 4, true>("linear", operands, epilogue, context);
    } else {
      launch_stream<2, 8, 1, true>("linear", operands, epilogue, context);
    }
  });
}

}  // namespace fewbit::cuda
