// Attention for what the tensor-core kernels do not take: fp32, odd head dimensions, addresses that
// are not 16-byte aligned. One block a row and query head; the keys are read as they lie.
#include "../common/reduce.cuh"
#include "problem.cuh"

namespace fewbit::cuda::attention {

namespace {

constexpr int kThreads = 128;

template <class T>
__global__ void __launch_bounds__(kThreads) generic_kernel(const Problem problem) {
  extern __shared__ float shared[];
  float* query = shared;               // dim
  float* sums = shared + problem.dim;  // dim
  __shared__ float weights[kThreads];
  __shared__ uint32_t cache_rows[kThreads];
  __shared__ float scratch[2][kThreads / 32];

  const int row = blockIdx.x, head = blockIdx.y, thread = threadIdx.x, dim = problem.dim;
  wait_for_predecessor();
  start_successor();
  T* out = problem.result<T>(row, head);
  const int position = problem.position_of(row);
  if (position < 0) {
    for (int i = thread; i < dim; i += kThreads) out[i] = from_float<T>(0.0f);
    return;
  }
  const int sequence = problem.sequences[row];
  const T* q = problem.query<T>(row, head);
  const T* keys = static_cast<const T*>(problem.key_cache);
  const T* values = static_cast<const T*>(problem.value_cache);
  for (int i = thread; i < dim; i += kThreads) {
    query[i] = to_float(q[i]) * problem.scale_log2;
    sums[i] = 0.0f;
  }
  float largest = -INFINITY, weight_sum = 0.0f;
  for (int first = 0; first <= position; first += kThreads) {
    __syncthreads();  // query and sums are there, the weights before these were used
    const int count = min(kThreads, position + 1 - first);
    float score = -INFINITY;
    if (thread < count) {
      const uint32_t cache_row = problem.cache_row(sequence, head / problem.group, first + thread);
      const T* key = keys + static_cast<int64_t>(cache_row) * dim;
      cache_rows[thread] = cache_row;
      score = 0.0f;
      for (int i = 0; i < dim; ++i) score += query[i] * to_float(key[i]);
    }
    const float top = fmaxf(largest, block_reduce<kThreads>(score, Max{}, scratch[0]));
    const float shrink = exp2f(largest - top);
    const float weight = thread < count ? exp2f(score - top) : 0.0f;
    largest = top;
    weights[thread] = weight;
    weight_sum = weight_sum * shrink + block_reduce<kThreads>(weight, Sum{}, scratch[1]);
    for (int i = thread; i < dim; i += kThreads) {
      float sum = sums[i] * shrink;
      for (int k = 0; k < count; ++k) {
        sum += weights[k] * to_float(values[static_cast<int64_t>(cache_rows[k]) * dim + i]);
      }
      sums[i] = sum;
    }
  }
  for (int i = thread; i < dim; i += kThreads) out[i] = from_float<T>(sums[i] / weight_sum);
}

}  // namespace

void run_generic(const Problem& problem, Context& context) {
  with_float(problem.dtype, [&](auto zero) {
    launch({.name = "attention (generic)",
            .grid = dim3(problem.rows, problem.query_heads),
            .block = dim3(kThreads),
            .shared_bytes = 2 * sizeof(float) * problem.dim,
            .overlap = true},
           context, generic_kernel<decltype(zero)>, problem);
  });
}

}  // namespace fewbit::cuda::attention
