// Warp and block reductions. The order of additions is fixed, so results are reproducible.
#pragma once

#include <cstdint>

namespace fewbit::cuda {

constexpr unsigned kFullWarp = 0xffffffffu;

struct Sum {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};

struct Max {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
  __device__ __forceinline__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// Every lane gets the result.
template <class T, class Op>
__device__ __forceinline__ T warp_reduce(T value, Op op) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    value = op(value, __shfl_xor_sync(kFullWarp, value, offset));
  }
  return value;
}

__device__ __forceinline__ uint32_t warp_max(uint32_t value) {
  return __reduce_max_sync(kFullWarp, value);
}

// Every thread gets the result. Threads is the block's size, a multiple of 32; scratch holds
// Threads / 32 elements of shared memory and may be used again after the next __syncthreads().
template <int Threads, class T, class Op>
__device__ __forceinline__ T block_reduce(T value, Op op, T* scratch) {
  constexpr int kWarps = Threads / 32;
  static_assert(Threads % 32 == 0 && kWarps <= 32);
  value = warp_reduce(value, op);
  if constexpr (kWarps == 1) return value;
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  T result = scratch[0];
#pragma unroll
  for (int warp = 1; warp < kWarps; ++warp) result = op(result, scratch[warp]);
  return result;
}

// The sum of the values of all lanes before this one.
__device__ __forceinline__ int warp_exclusive_sum(int value, int lane) {
  int sum = value;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const int below = __shfl_up_sync(kFullWarp, sum, offset);
    if (lane >= offset) sum += below;
  }
  return sum - value;
}

}  // namespace fewbit::cuda
