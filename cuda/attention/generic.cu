// Attention for what the tensor-core kernels do not take: fp32, odd head dimensions, addresses that
// are not 16-byte aligned. One block a row and query head; the keys are read as they lie.
#include "../common/reduce.cuh"
#include "problem.cuh"
#include "rotary.cuh"

namespace fewbit::cuda::attention {

namespace {

constexpr int kThreads = 128;

// A head as it is, or rotated.
template <class T>
__device__ __forceinline__ void copy_head(const T* from, T* to, int dim, const float* angles) {
  const int half = dim / 2;
  for (int i = threadIdx.x; i < half; i += kThreads) {
    auto first = load_pack<1>(from + i), second = load_pack<1>(from + half + i);
    if (angles) rotate(first, second, angles + i, half);
    store_pack(to + i, first);
    store_pack(to + half + i, second);
  }
}

// With Fresh, the last key and value of a row come from append; every block holds its own copy, and
// the first of a group puts them into the cache.
template <class T, bool Fresh>
__global__ void __launch_bounds__(kThreads)
    generic_kernel(const Problem problem, const Append append) {
  extern __shared__ float shared[];
  float* query = shared;                                          // dim
  float* sums = shared + problem.dim;                             // dim
  T* fresh_key = reinterpret_cast<T*>(shared + 2 * problem.dim);  // dim, first the query
  T* fresh_value = fresh_key + problem.dim;                       // dim
  __shared__ float weights[kThreads];
  __shared__ uint32_t cache_rows[kThreads];
  __shared__ float scratch[2][kThreads / 32];

  const int row = blockIdx.x, head = blockIdx.y, thread = threadIdx.x, dim = problem.dim;
  start_successor();
  wait_for_predecessor();
  T* out = problem.result<T>(row, head);
  const int kv_head = head / problem.group;
  const int position = problem.position_of(row);
  const bool padding =
      Fresh && !append.is_known(problem, position, problem.sequences[row], append.slots[row]);
  if (position < 0 || padding) {
    for (int i = thread; i < dim; i += kThreads) out[i] = from_float<T>(0.0f);
    return;
  }
  const int sequence = problem.sequences[row];
  const T* q = problem.query<T>(row, head);
  const T* keys = static_cast<const T*>(problem.key_cache);
  const T* values = static_cast<const T*>(problem.value_cache);
  const float* angles = Fresh ? append.angles(problem, position) : nullptr;
  if (Fresh && angles) {
    copy_head(q, fresh_key, dim, angles);
    q = fresh_key;
    __syncthreads();
  }
  for (int i = thread; i < dim; i += kThreads) {
    query[i] = to_float(q[i]) * problem.scale_log2;
    sums[i] = 0.0f;
  }
  if constexpr (Fresh) {
    __syncthreads();
    copy_head(append.key<T>(row, kv_head, dim), fresh_key, dim, angles);
    copy_head(append.value<T>(row, kv_head, dim), fresh_value, dim, nullptr);
    __syncthreads();
    if (head % problem.group == 0) {
      const int64_t at = int64_t{problem.slot_row(append.slots[row], kv_head)} * dim;
      copy_head(fresh_key, const_cast<T*>(keys) + at, dim, nullptr);
      copy_head(fresh_value, const_cast<T*>(values) + at, dim, nullptr);
    }
  }
  float largest = -INFINITY, weight_sum = 0.0f;
  for (int first = 0; first <= position; first += kThreads) {
    __syncthreads();  // query and sums are there, the weights before these were used
    const int count = min(kThreads, position + 1 - first);
    float score = -INFINITY;
    if (thread < count) {
      const uint32_t cache_row = problem.cache_row(sequence, kv_head, first + thread);
      const bool is_fresh = Fresh && first + thread == position;
      const T* key = is_fresh ? fresh_key : keys + static_cast<int64_t>(cache_row) * dim;
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
        const bool is_fresh = Fresh && first + k == position;
        const T* value =
            is_fresh ? fresh_value : values + static_cast<int64_t>(cache_rows[k]) * dim;
        sum += weights[k] * to_float(value[i]);
      }
      sums[i] = sum;
    }
  }
  for (int i = thread; i < dim; i += kThreads) out[i] = from_float<T>(sums[i] / weight_sum);
}

}  // namespace

void run_generic(const Problem& problem, const Append* append, Context& context) {
  with_float(problem.dtype, [&](auto zero) {
    using T = decltype(zero);
    launch({.name = "attention (generic)",
            .grid = dim3(problem.rows, problem.query_heads),
            .block = dim3(kThreads),
            .shared_bytes = (2 * sizeof(float) + 2 * sizeof(T)) * problem.dim,
            .overlap = true},
           context, append ? generic_kernel<T, true> : generic_kernel<T, false>, problem,
           append ? *append : Append{});
  });
}

}  // namespace fewbit::cuda::attention
