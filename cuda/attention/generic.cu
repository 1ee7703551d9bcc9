// Attention for what the tensor-core kernels do not take: fp32, odd head dimensions, addresses that
// are not 16-byte aligned. One block a row and query head; the keys are read as they lie.
#include "key_by_key.cuh"
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

template <class T>
struct FloatRow {
  const T* values;

  __device__ float operator[](int i) const { return to_float(values[i]); }
};

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
  const auto row_of = [&](const T* fresh, const T* cache) {
    return [=](int key, int64_t at) {
      return FloatRow<T>{Fresh && key == position ? fresh : cache + at * dim};
    };
  };
  attend_key_by_key<kThreads>(
      query, sums, dim, position,
      [&](int key) { return problem.cache_row(sequence, kv_head, key); }, row_of(fresh_key, keys),
      row_of(fresh_value, values), out);
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
