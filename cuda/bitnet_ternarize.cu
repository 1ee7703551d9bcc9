// bitnet_ternarize on CUDA: see src/ops/bitnet_ternarize.h.
#include "../src/ops/bitnet_ternarize.h"

#include <algorithm>

#include "common/convert.cuh"
#include "common/cuda_op.h"
#include "common/dependency.cuh"
#include "common/launch.h"

namespace fewbit::cuda {
namespace {

using namespace ops::bitnet_ternarize;
namespace layout = ops::bitnet;

constexpr int kThreads = 128;

template <class T>
struct Ternarize {
  const T* w;
  const float* gamma;
  uint32_t* weight;
  int64_t rows, cols, row_words;
};

// A thread makes a word: 16 columns of a row.
template <class T>
__global__ __launch_bounds__(kThreads) void ternarize(const Ternarize<T> p) {
  wait_for_predecessor();
  const int64_t word = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (word >= p.row_words) return;
  const float inverse = __fdiv_rn(1.0f, *p.gamma);
  for (int64_t row = blockIdx.y; row < p.rows; row += gridDim.y) {
    uint32_t codes = 0;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int64_t column = word * 16 + i;
      const float value = column < p.cols ? to_float(p.w[row * p.cols + column]) : 0.0f;
      const float scaled = __fmul_rn(value, inverse);
      // The comparisons of a NaN are false. A half rounds to the even number, which is zero.
      const uint32_t code = scaled > 0.5f ? 2u : scaled < -0.5f ? 0u : 1u;
      codes |= code << layout::field_shift(i);
    }
    p.weight[row * p.row_words + word] = codes;
  }
}

void run(const OpCall& call, Context& context) {
  with_float(call[w].dtype, [&](auto zero) {
    using T = decltype(zero);
    const Ternarize<T> p{call[w].as<T>(), call[gamma].as<float>(), call[weight].as<uint32_t>(),
                         call[w].rows(),  call[w].cols(),          call[weight].cols() / 4};
    if (p.rows == 0 || p.row_words == 0) return;
    Launch config;
    config.name = "bitnet_ternarize";
    config.grid = dim3(static_cast<unsigned>((p.row_words + kThreads - 1) / kThreads),
                       static_cast<unsigned>(std::min<int64_t>(p.rows, 65535)));
    config.block = dim3(kThreads);
    launch(config, context, ternarize<T>, p);
  });
}

const CudaOp op("bitnet_ternarize", run);

}  // namespace
}  // namespace fewbit::cuda
