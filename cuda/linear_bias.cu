// Bias and activation after a product that could not apply them itself.
#include "common/activation.cuh"
#include "common/convert.cuh"
#include "common/dependency.cuh"
#include "common/launch.h"
#include "linear/linear.h"

namespace fewbit::cuda {

namespace {

constexpr int kThreads = 256;

template <class T>
__global__ __launch_bounds__(kThreads) void add_bias_rows(const Linear p) {
  wait_for_predecessor();
  T* out = static_cast<T*>(p.out) + int64_t{blockIdx.x} * p.columns;
  const auto activation = static_cast<Activation>(p.activation);
  for (int64_t column = threadIdx.x; column < p.columns; column += kThreads) {
    const float bias = p.bias ? load_float(p.bias, p.bias_dtype, column) : 0.0f;
    out[column] = from_float<T>(activate(to_float(out[column]) + bias, activation));
  }
}

}  // namespace

void add_bias(const Linear& linear, Context& context) {
  Launch config;
  config.name = "linear: adding the bias";
  config.grid = dim3(static_cast<unsigned>(linear.rows));
  config.block = dim3(kThreads);
  with_float(linear.out_dtype,
             [&](auto zero) { launch(config, context, add_bias_rows<decltype(zero)>, linear); });
}

}  // namespace fewbit::cuda
