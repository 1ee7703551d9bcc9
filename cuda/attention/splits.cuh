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
static_assert(kSplitThreads == 32 * 4, "join_kernel: a block covers what a warp's float4s hold");

// Largest and sum of the weights relative to it, of one head over one split.
struct SplitSum {
  float largest, sum;
};

struct Splits {
  int count;       // grid.x
  SplitSum* sums;  // [rows, query_heads, count]
  float* values;   // [rows, query_heads, count, dim], not yet divided by the sum
};

// Tiles that a split treats, for a row of some keys: the same number for every warp.
__device__ __forceinline__ int tiles_per_split(int tiles, int splits) {
  const int round = splits * kSplitWarps;
  return (tiles + round - 1) / round * kSplitWarps;
}

// One block a row and query head. Warps share the splits, lanes the elements, four at a time.
template <class T>
__global__ void __launch_bounds__(kSplitThreads)
    join_kernel(const Problem problem, const Splits splits) {
  constexpr int kAtOnce = 8;
  constexpr int kPerLane = kMaxSplits / 32;
  __shared__ float4 warp_values[kSplitWarps][32];
  const int head = blockIdx.x, row = blockIdx.y;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t first = (static_cast<int64_t>(row) * problem.query_heads + head) * splits.count;
  const int vectors = problem.dim / 4;

  wait_for_predecessor();
  start_successor();
  // The first loads do not wait for the position that says which of them matter.
  const int position = problem.position_of(row);
  SplitSum part[kPerLane];
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int split = lane + 32 * i;
    part[i] = split < splits.count ? splits.sums[first + split] : SplitSum{};
  }
  const auto load = [&](float4(&values)[kAtOnce], int begin, int end, int vector) {
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int split = begin + kSplitWarps * i;
      const float* from = splits.values + (first + split) * problem.dim + vector * 4;
      values[i] =
          split < end && vector < vectors ? *reinterpret_cast<const float4*>(from) : float4{};
    }
  };
  float4 values[kAtOnce];
  load(values, warp, splits.count, lane);

  T* out = problem.result<T>(row, head);
  if (position < 0) {
    for (int i = threadIdx.x; i < problem.dim; i += kSplitThreads) out[i] = from_float<T>(0.0f);
    return;
  }
  const int tiles = position / kTileKeys + 1;
  const int share = tiles_per_split(tiles, splits.count);
  const int active = (tiles + share - 1) / share;
  float top = -INFINITY, factor[kPerLane], total = 0.0f;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    if (lane + 32 * i >= active) part[i] = {-INFINITY, 0.0f};
    top = fmaxf(top, part[i].largest);
  }
  top = warp_reduce(top, Max{});
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    factor[i] = power_of_two(part[i].largest - top);
    total += factor[i] * part[i].sum;
  }
  total = warp_reduce(total, Sum{});

  for (int base = 0; base < vectors; base += 32) {
    float4 sum{};
    for (int begin = warp; begin < active; begin += kSplitWarps * kAtOnce) {
      if (base > 0 || begin != warp) load(values, begin, active, base + lane);
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const int split = begin + kSplitWarps * i;
        const float weight = __shfl_sync(kFullWarp, split < 32 ? factor[0] : factor[1], split % 32);
        if (split >= active) continue;  // what was read there means nothing
        sum.x += weight * values[i].x;
        sum.y += weight * values[i].y;
        sum.z += weight * values[i].z;
        sum.w += weight * values[i].w;
      }
    }
    warp_values[warp][lane] = sum;
    __syncthreads();
    const int element = base * 4 + threadIdx.x;
    if (element < problem.dim) {
      float value = 0.0f;
#pragma unroll
      for (int w = 0; w < kSplitWarps; ++w) {
        value += reinterpret_cast<const float*>(warp_values[w])[threadIdx.x];
      }
      out[element] = from_float<T>(value / total);
    }
    __syncthreads();
  }
}

}  // namespace fewbit::cuda::attention
