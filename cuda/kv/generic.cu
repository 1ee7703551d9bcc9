// Attention over a cache of few bits for what the other kernels do not take: fp32, head dimensions
// and page sizes that they are not compiled for. One block a row and query head.
#include "../common/reduce.cuh"
#include "problem.cuh"

namespace fewbit::cuda::kv {

namespace {

constexpr int kThreads = 128;

// The values of a row: static ones channel by channel, dynamic ones by the token's pair.
template <int Bits>
struct Row {
  const uint32_t* words;
  const float* scales;
  const float* zeros;
  __half2 pair;
  int low_words;

  __device__ float operator[](int i) const {
    const float code = static_cast<float>(code_at<Bits>(words, i, low_words));
    return scales ? scales[i] * (code - zeros[i])
                  : fmaf(__low2float(pair), code, __high2float(pair));
  }
};

template <class T, int Bits>
__global__ void __launch_bounds__(kThreads) generic_kernel(const Problem problem) {
  extern __shared__ float shared[];
  float* query = shared;               // dim
  float* sums = shared + problem.dim;  // dim
  __shared__ float weights[kThreads];
  __shared__ uint32_t cache_rows[kThreads];
  __shared__ float scratch[2][kThreads / 32];

  const int row = blockIdx.x, head = blockIdx.y, thread = threadIdx.x, dim = problem.dim;
  start_successor();
  wait_for_predecessor();
  T* out = problem.result<T>(row, head);
  const int kv_head = head / problem.group, position = problem.position_of(row);
  if (position < 0) {
    for (int i = thread; i < dim; i += kThreads) out[i] = from_float<T>(0.0f);
    return;
  }
  const int sequence = problem.sequences[row];
  const int low_words = static_cast<int>(ops::kv::low_words(dim, Bits));
  const auto row_of = [&](const uint8_t* words, const float* grid, const __half2* scales,
                          int64_t cache_row) {
    return Row<Bits>{.words = reinterpret_cast<const uint32_t*>(words),
                     .scales = grid ? grid + kv_head * dim : nullptr,
                     .zeros = grid ? grid + (problem.kv_heads + kv_head) * dim : nullptr,
                     .pair = grid ? __half2{} : scales[cache_row],
                     .low_words = low_words};
  };
  for (int i = thread; i < dim; i += kThreads) {
    query[i] = problem.query_value(row, head, i) * problem.scale_log2;
    sums[i] = 0.0f;
  }
  float largest = -INFINITY, weight_sum = 0.0f;
  for (int first = 0; first <= position; first += kThreads) {
    __syncthreads();  // query and sums are there, the weights before these were used
    const int count = min(kThreads, position + 1 - first);
    float score = -INFINITY;
    if (thread < count) {
      const uint32_t at = problem.cache_row(sequence, kv_head, first + thread);
      cache_rows[thread] = at;
      const auto key = row_of(problem.key_row(at), problem.key_grid, problem.key_scales, at);
      score = 0.0f;
      for (int i = 0; i < dim; ++i) score += query[i] * key[i];
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
        const int64_t at = cache_rows[k];
        const auto value =
            row_of(problem.value_row(at), problem.value_grid, problem.value_scales, at);
        sum += weights[k] * value[i];
      }
      sums[i] = sum;
    }
  }
  for (int i = thread; i < dim; i += kThreads) out[i] = from_float<T>(sums[i] / weight_sum);
}

}  // namespace

void run_generic(const Problem& problem, int bits, Context& context) {
  with_float(problem.dtype, [&](auto zero) {
    using T = decltype(zero);
    with_width(bits, [&](auto width) {
      launch({.name = "attention_quantized (generic)",
              .grid = dim3(problem.rows, problem.query_heads),
              .block = dim3(kThreads),
              .shared_bytes = 2 * sizeof(float) * problem.dim,
              .overlap = true},
             context, generic_kernel<T, width()>, problem);
    });
  });
}

}  // namespace fewbit::cuda::kv
