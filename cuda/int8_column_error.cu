// How well int8 codes represent each column of a weight.
#include "../src/ops/int8_column_error.h"

#include "common/convert.cuh"
#include "common/cuda_op.h"
#include "common/launch.h"

namespace fewbit::cuda {

namespace {

using namespace ops::int8_column_error;

constexpr int kLanes = 32;  // columns of a block
constexpr int kSlices = 8;  // rows that a block reads at a time

// A block owns 32 columns; its row slices are summed in fixed order.
template <class T>
__global__ __launch_bounds__(kLanes* kSlices) void column_error(const T* weight,
                                                                const int8_t* codes,
                                                                const float* scales, int64_t rows,
                                                                int64_t cols, int64_t padded_cols,
                                                                float* out) {
  const int64_t column = int64_t{blockIdx.x} * kLanes + threadIdx.x;
  float error = 0, size = 0;
  if (column < cols) {
    for (int64_t row = threadIdx.y; row < rows; row += kSlices) {
      const float value = to_float(weight[row * cols + column]);
      const float code = static_cast<float>(codes[row * padded_cols + column]);
      const float difference = value - code * scales[row] / 127.0f;
      error = fmaf(difference, difference, error);
      size = fmaf(value, value, size);
    }
  }
  __shared__ float sums[2][kSlices][kLanes];
  sums[0][threadIdx.y][threadIdx.x] = error;
  sums[1][threadIdx.y][threadIdx.x] = size;
  __syncthreads();
  if (threadIdx.y != 0 || column >= cols) return;
  for (int slice = 1; slice < kSlices; ++slice) {
    error += sums[0][slice][threadIdx.x];
    size += sums[1][slice][threadIdx.x];
  }
  out[column] = size == 0 ? 0.0f : sqrtf(error / size);
}

void run(const OpCall& call, Context& context) {
  const int64_t rows = call[weight].rows(), cols = call[weight].cols();
  if (cols == 0) return;
  Launch config;
  config.name = "int8_column_error";
  config.grid = dim3(static_cast<unsigned>((cols + kLanes - 1) / kLanes));
  config.block = dim3(kLanes, kSlices);
  with_float(call[weight].dtype, [&](auto zero) {
    using T = decltype(zero);
    launch(config, context, column_error<T>, call[weight].as<const T>(),
           call[codes].as<const int8_t>(), call[scales].as<const float>(), rows, cols,
           call[codes].shape[1], call[out].as<float>());
  });
}

const CudaOp op("int8_column_error", run);

}  // namespace

}  // namespace fewbit::cuda
