// What the attention kernels do with fragments of 16-bit elements (sm_80 and later), and copies that
// feed them.
// Lanes are named as in the PTX manual: lane = 4 * group + member.
#pragma once

#include "../common/async_copy.cuh"
#include "../common/convert.cuh"
#include "../common/mma.cuh"
#include "../common/pairs.cuh"
#include "../common/reduce.cuh"

namespace fewbit::cuda::attention {

// Four 8 x 8 matrices, each transposed; lane i names row i % 8 of matrix i / 8.
__device__ __forceinline__ void load_transposed(uint32_t (&to)[4], uint32_t shared_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address)
               : "memory");
}

__device__ __forceinline__ uint4 load_shared(uint32_t shared_address) {
  uint4 value;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(shared_address)
               : "memory");
  return value;
}

// 16 bytes from global to shared memory in the background; zeros when from is not to be read.
__device__ __forceinline__ void copy_async(uint32_t shared_address, const void* from, bool read) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_address),
               "l"(from), "r"(read ? 16 : 0)
               : "memory");
}

// Until the oldest of one or two groups of copies is complete.
__device__ __forceinline__ void wait_for_oldest_copy(int groups) {
  if (groups > 1) {
    wait_copies<1>();
  } else {
    wait_copies<0>();
  }
}

// 2^x, -inf gives 0.
__device__ __forceinline__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// A step of a running softmax, of a row of Tiles fragments of 8 keys that a group of lanes holds.
// score(n, i) is a reference to the lane's i-th score, of two, in fragment n; it becomes exp2(score *
// scale_log2 - m), where m is the largest so far times the scale. `largest` and the lane's weight_sum
// take them in. Returns what sums of weighted values have to be multiplied by.
template <int Tiles, class Score>
__device__ __forceinline__ float take_scores(const Score& score, float scale_log2, float& largest,
                                             float& weight_sum) {
  float top = largest;
#pragma unroll
  for (int n = 0; n < Tiles; ++n) top = fmaxf(top, fmaxf(score(n, 0), score(n, 1)));
  top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, 1));
  top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, 2));
  // A row without keys so far must not give inf - inf.
  const float base = top == -INFINITY ? 0.0f : top * scale_log2;
  const float shrink = power_of_two(largest * scale_log2 - base);
  largest = top;
  float sum = 0.0f;
#pragma unroll
  for (int n = 0; n < Tiles; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      score(n, i) = power_of_two(fmaf(score(n, i), scale_log2, -base));
      sum += score(n, i);
    }
  }
  weight_sum = weight_sum * shrink + sum;
  return shrink;
}

}  // namespace fewbit::cuda::attention
