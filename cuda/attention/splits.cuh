// How flash-decoding shares a row's keys among blocks, and the kernel that joins their findings.
#pragma once

#include "../common/reduce.cuh"
#include "fragment.cuh"
#include "problem.cuh"

namespace fewbit::cuda::attention {

constexpr int kSplitWarps = 4;
constexpr int kSplitThreads = kSplitWarps * 32;
constexpr int kTileKeys = 16;  // that one warp treats at a time
constexpr int kTileHeads = 8;  // that one block treats
constexpr int kMaxSplits = 64;

// Largest and sum of the weights relative to it, of one head over one split.
struct SplitSum {
  float largest, sum;
};

struct Splits {
  int count;       // grid.x
  SplitSum* sums;  // [rows, query_heads, count]
  float* values;   // [rows, query_heads, count, dim], not yet divided by the sum
};

// Tiles that a split treats, for a row of some keys: as even as can be, and enough for every warp.
__device__ __forceinline__ int tiles_per_split(int tiles, int splits) {
  return max((tiles + splits - 1) / splits, kSplitWarps);
}

// One block a row and query head.
template <class T>
__global__ void __launch_bounds__(kSplitThreads)
    join_kernel(const Problem problem, const Splits splits) {
  __shared__ float factors[kMaxSplits];
  const int head = blockIdx.x, row = blockIdx.y;
  wait_for_predecessor();
  start_successor();
  const int position = problem.position_of(row);
  T* out = problem.result<T>(row, head);
  if (position < 0) {
    for (int i = threadIdx.x; i < problem.dim; i += kSplitThreads) out[i] = from_float<T>(0.0f);
    return;
  }
  const int tiles = position / kTileKeys + 1;
  const int share = tiles_per_split(tiles, splits.count);
  const int active = (tiles + share - 1) / share;
  const int64_t first = (static_cast<int64_t>(row) * problem.query_heads + head) * splits.count;
  if (threadIdx.x < 32) {
    const int lane = threadIdx.x;
    constexpr int kPerLane = kMaxSplits / 32;
    SplitSum part[kPerLane];
    float top = -INFINITY;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int split = lane + 32 * i;
      part[i] = split < active ? splits.sums[first + split] : SplitSum{-INFINITY, 0.0f};
      top = fmaxf(top, part[i].largest);
    }
    top = warp_reduce(top, Max{});
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      part[i].largest = power_of_two(part[i].largest - top);
      sum += part[i].largest * part[i].sum;
    }
    sum = warp_reduce(sum, Sum{});
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) factors[lane + 32 * i] = part[i].largest / sum;
  }
  const float* values = splits.values + first * problem.dim;
  // The first values are on their way while the factors are made.
  float ahead[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const bool read = i < active && threadIdx.x < problem.dim;
    ahead[i] = read ? values[i * problem.dim + threadIdx.x] : 0.0f;
  }
  __syncthreads();
  for (int element = threadIdx.x; element < problem.dim; element += kSplitThreads) {
    float value = 0.0f;
    int split = 0;
    if (element == threadIdx.x) {
#pragma unroll
      for (int i = 0; i < 4; ++i) value += i < active ? factors[i] * ahead[i] : 0.0f;
      split = 4;
    }
#pragma unroll 8
    for (; split < active; ++split) value += factors[split] * values[split * problem.dim + element];
    out[element] = from_float<T>(value);
  }
}

}  // namespace fewbit::cuda::attention
