// token_nll on CUDA: see src/ops/token_nll.h.
#include "../src/ops/token_nll.h"

#include "common/cuda_op.h"
#include "common/dependency.cuh"
#include "common/launch.h"
#include "common/reduce.cuh"

namespace fewbit::cuda {
namespace {

constexpr int kThreads = 512;

// A row's largest value so far, and the sum of exponentials relative to it.
struct RunningSum {
  float largest, sum;
};

// One block a row, which is read once.
__global__ void __launch_bounds__(kThreads)
    token_nll_kernel(const float* logits, const int32_t* targets, float* out, int64_t vocabulary) {
  __shared__ float scratch[2][kThreads / 32];
  const int64_t t = blockIdx.x;
  wait_for_predecessor();
  start_successor();
  const int32_t target = targets[t];
  if (target < 0) {
    if (threadIdx.x == 0) out[t] = 0.0f;
    return;
  }
  const float* row = logits + t * vocabulary;
  constexpr int kPerThread = 8;
  RunningSum running{-INFINITY, 0.0f};
  for (int64_t start = threadIdx.x; start < vocabulary; start += kThreads * kPerThread) {
    float value[kPerThread];
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int64_t column = start + i * kThreads;
      value[i] = column < vocabulary ? row[column] : -INFINITY;
    }
    float largest = running.largest;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) largest = fmaxf(largest, value[i]);
    // A NaN does not raise the largest value; it reaches the sum through the exponentials below.
    const float base = largest == -INFINITY ? 0.0f : largest;
    running.sum *= expf(running.largest - base);
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) running.sum += expf(value[i] - base);
    running.largest = largest;
  }
  const float largest = block_reduce<kThreads>(running.largest, Max{}, scratch[0]);
  const float base = largest == -INFINITY ? 0.0f : largest;
  const float sum =
      block_reduce<kThreads>(running.sum * expf(running.largest - base), Sum{}, scratch[1]);
  if (threadIdx.x == 0) {
    // A target outside the row is a caller's error: NaN shows it without a stray access.
    out[t] = target < vocabulary ? logf(sum) + largest - row[target] : NAN;
  }
}

void run(const OpCall& call, Context& context) {
  using namespace ops::token_nll;
  const int64_t rows = call[logits].rows();
  if (rows == 0) return;
  launch({.name = "token_nll",
          .grid = dim3(static_cast<unsigned>(rows)),
          .block = dim3(kThreads),
          .overlap = true},
         context, token_nll_kernel, call[logits].as<float>(), call[targets].as<int32_t>(),
         call[out].as<float>(), call[logits].cols());
}

const CudaOp op("token_nll", run);

}  // namespace
}  // namespace fewbit::cuda
