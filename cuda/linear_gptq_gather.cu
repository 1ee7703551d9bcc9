// x in the order of a GPTQ weight's positions (act-order), or only padded and aligned.
#include <algorithm>

#include "common/convert.cuh"
#include "common/dependency.cuh"
#include "common/launch.h"
#include "gptq/linear_gptq.h"

namespace fewbit::cuda::gptq {

namespace {

constexpr int kThreads = 256;
constexpr int kColumns = 8;  // of 2 bytes, per thread

__global__ __launch_bounds__(kThreads) void gather(const uint16_t* x, const int32_t* order,
                                                   uint4* to, int64_t x_columns, int64_t positions,
                                                   int64_t depth, int64_t rows) {
  wait_for_predecessor();
  start_successor();
  const int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kColumns;
  if (first >= depth) return;
  int64_t from[kColumns];
#pragma unroll
  for (int i = 0; i < kColumns; ++i) {
    const int64_t position = first + i;
    from[i] = position >= positions ? -1 : order ? order[position] : position;
    if (from[i] >= x_columns) from[i] = -1;
  }
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    Vector<__half> values;
    auto* bits = reinterpret_cast<uint16_t*>(values.value);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      bits[i] = from[i] < 0 ? uint16_t{0} : x[row * x_columns + from[i]];
    }
    to[(row * depth + first) / kColumns] = *reinterpret_cast<const uint4*>(&values);
  }
}

}  // namespace

void gather_columns(const LinearGptq& linear, const void* x, int64_t x_columns,
                    const int32_t* order, void* to, Context& context) {
  const int64_t packs = (linear.depth / kColumns + kThreads - 1) / kThreads;
  if (packs == 0) return;
  Launch config;
  config.name = "linear_gptq: ordering x";
  config.grid = dim3(static_cast<unsigned>(packs),
                     static_cast<unsigned>(std::min<int64_t>(linear.rows, 4096)));
  config.block = dim3(kThreads);
  config.overlap = true;
  launch(config, context, gather, static_cast<const uint16_t*>(x), order, static_cast<uint4*>(to),
         x_columns, linear.weight.positions, linear.depth, linear.rows);
}

}  // namespace fewbit::cuda::gptq
