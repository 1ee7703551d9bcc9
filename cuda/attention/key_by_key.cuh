// Attention of one row and query head by a block, one key a thread: for kernels that take anything.
#pragma once

#include "../common/convert.cuh"
#include "../common/reduce.cuh"

namespace fewbit::cuda::attention {

// Over the keys 0 .. position. query [dim], scaled for powers of two, and sums [dim], zeros, lie in
// shared memory, filled by the threads that own the elements. cache_row(key) gives where a key lies;
// key_of and value_of(key, cache row) give something whose [i] is element i as a float.
template <int Threads, class T, class CacheRow, class KeyOf, class ValueOf>
__device__ __forceinline__ void attend_key_by_key(const float* query, float* sums, int dim,
                                                  int position, const CacheRow& cache_row,
                                                  const KeyOf& key_of, const ValueOf& value_of,
                                                  T* out) {
  __shared__ float weights[Threads];
  __shared__ uint32_t cache_rows[Threads];
  __shared__ float scratch[2][Threads / 32];
  const int thread = threadIdx.x;
  float largest = -INFINITY, weight_sum = 0.0f;
  for (int first = 0; first <= position; first += Threads) {
    __syncthreads();  // query and sums are there, the weights before these were used
    const int count = min(Threads, position + 1 - first);
    float score = -INFINITY;
    if (thread < count) {
      const uint32_t at = cache_row(first + thread);
      const auto key = key_of(first + thread, at);
      cache_rows[thread] = at;
      score = 0.0f;
      for (int i = 0; i < dim; ++i) score += query[i] * key[i];
    }
    const float top = fmaxf(largest, block_reduce<Threads>(score, Max{}, scratch[0]));
    const float shrink = exp2f(largest - top);
    const float weight = thread < count ? exp2f(score - top) : 0.0f;
    largest = top;
    weights[thread] = weight;
    weight_sum = weight_sum * shrink + block_reduce<Threads>(weight, Sum{}, scratch[1]);
    for (int i = thread; i < dim; i += Threads) {
      float sum = sums[i] * shrink;
      for (int k = 0; k < count; ++k) {
        const auto value = value_of(first + k, cache_rows[k]);
        sum += weights[k] * value[i];
      }
      sums[i] = sum;
    }
  }
  for (int i = thread; i < dim; i += Threads) out[i] = from_float<T>(sums[i] / weight_sum);
}

}  // namespace fewbit::cuda::attention
