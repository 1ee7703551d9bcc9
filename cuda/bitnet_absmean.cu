// bitnet_absmean on CUDA: see src/ops/bitnet_absmean.h.
#include "../src/ops/bitnet_absmean.h"

#include "common/convert.cuh"
#include "common/cuda_op.h"
#include "common/dependency.cuh"
#include "common/launch.h"
#include "common/reduce.cuh"

namespace fewbit::cuda {
namespace {

using namespace ops::bitnet_absmean;

constexpr int kThreads = 256;
constexpr int kBlocks =
    512;  // whatever the device: the order of the additions is part of the result

// Every block's sum.
template <class T>
__global__ __launch_bounds__(kThreads) void sum_blocks(const T* w, int64_t elements,
                                                       double* block_sums) {
  __shared__ double scratch[kThreads / 32];
  wait_for_predecessor();
  constexpr int64_t kStep = int64_t{kBlocks} * kThreads;
  double sum = 0;
#pragma unroll 8
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < elements; i += kStep) {
    sum += fabsf(to_float(w[i]));
  }
  sum = block_reduce<kThreads>(sum, Sum{}, scratch);
  if (threadIdx.x == 0) block_sums[blockIdx.x] = sum;
}

__global__ __launch_bounds__(kBlocks) void mean_of_sums(const double* block_sums, int64_t elements,
                                                        float* gamma) {
  __shared__ double scratch[kBlocks / 32];
  wait_for_predecessor();
  const double sum = block_reduce<kBlocks>(block_sums[threadIdx.x], Sum{}, scratch);
  if (threadIdx.x != 0) return;
  const auto mean = static_cast<float>(elements ? sum / static_cast<double>(elements) : 0.0);
  *gamma = mean < ops::bitnet::kSmallest ? ops::bitnet::kSmallest : mean;  // a NaN stays
}

size_t workspace(const OpCall&, Context&) { return kBlocks * sizeof(double); }

void run(const OpCall& call, Context& context) {
  auto* block_sums = static_cast<double*>(call.workspace);
  const int64_t elements = call[w].elements();
  Launch config;
  config.name = "bitnet_absmean";
  config.grid = dim3(kBlocks);
  config.block = dim3(kThreads);
  with_float(call[w].dtype, [&](auto zero) {
    using T = decltype(zero);
    launch(config, context, sum_blocks<T>, call[w].as<const T>(), elements, block_sums);
  });
  config.grid = dim3(1);
  config.block = dim3(kBlocks);
  launch(config, context, mean_of_sums, block_sums, elements, call[gamma].as<float>());
}

const CudaOp op("bitnet_absmean", run, workspace);

}  // namespace
}  // namespace fewbit::cuda
