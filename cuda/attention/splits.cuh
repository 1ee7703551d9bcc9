// How flash-decoding shares a row's keys among blocks, and how their findings are joined: in the
// shared memory of a cluster (cluster_join.cuh), or through the workspace by the block that comes last.
#pragma once

#include "../common/reduce.cuh"
#include "fragment.cuh"
#include "problem.cuh"

namespace fewbit::cuda::attention {

constexpr int kSplitWarps = 4;
constexpr int kSplitThreads = kSplitWarps * 32;
constexpr int kTileHeads = 8;    // that one block treats
constexpr int kMaxCluster = 16;  // splits that join in a cluster
constexpr int kMaxSplits = 64;   // splits that join through the workspace

// Largest and sum of the weights relative to it, of one head over some keys.
struct SplitSum {
  float largest, sum;
};

struct Splits {
  int count;           // grid.x; warps of all splits take turns at the tiles of a row
  int stages;          // tiles that a warp has under way
  int share;           // log2 of the elements of a head that a block of a cluster finishes
  SplitSum* sums;      // [units, count, heads], in the workspace; null: they join in a cluster
  float* values;       // [units, count, heads, dim], not yet divided by the sum
  uint32_t* arrivals;  // [units], zero between kernels

  // Splits that have anything to do.
  __device__ int active(int tiles) const {
    return min(count, (tiles + kSplitWarps - 1) / kSplitWarps);
  }
};

// The heads of one row that a block treats.
struct Heads {
  int row, kv_head, first, count;
};

// What a warp has found.
template <int Width>
struct Findings {
  float values[kTileHeads][Width];
  SplitSum sums[kTileHeads];
};

// The findings of a block, joined from those of its warps: of(w) is warp w's.
template <int Width, class Of>
__device__ __forceinline__ SplitSum join_sums(const Of& of, int head) {
  SplitSum joined = of(0).sums[head];
#pragma unroll
  for (int w = 1; w < kSplitWarps; ++w) {
    joined.largest = fmaxf(joined.largest, of(w).sums[head].largest);
  }
  joined.sum = 0.0f;
#pragma unroll
  for (int w = 0; w < kSplitWarps; ++w) {
    joined.sum += power_of_two(of(w).sums[head].largest - joined.largest) * of(w).sums[head].sum;
  }
  return joined;
}
template <int Width, class Of>
__device__ __forceinline__ float join_values(const Of& of, int head, int element, float largest) {
  float value = 0.0f;
#pragma unroll
  for (int w = 0; w < kSplitWarps; ++w) {
    value += power_of_two(of(w).sums[head].largest - largest) * of(w).values[head][element];
  }
  return value;
}

// Called by the active blocks of a row, once their findings are complete in shared memory.
template <class T, int Width, class Of>
__device__ void join_in_workspace(const Problem& problem, const Splits& splits, const Heads& heads,
                                  int active, const Of& of) {
  __shared__ bool is_last;
  const int unit = blockIdx.z * gridDim.y + blockIdx.y;
  const int elements = heads.count * problem.dim;
  const int64_t first = int64_t{unit} * splits.count;
  SplitSum* sums = splits.sums + first * kTileHeads;
  float* values = splits.values + first * kTileHeads * problem.dim;
  for (int i = threadIdx.x; i < elements; i += kSplitThreads) {
    const int head = i / problem.dim, element = i % problem.dim;
    const SplitSum joined = join_sums<Width>(of, head);
    const float value = join_values<Width>(of, head, element, joined.largest);
    if (active == 1) {
      problem.result<T>(heads.row, heads.first)[i] = from_float<T>(value / joined.sum);
      continue;
    }
    if (element == 0) sums[blockIdx.x * kTileHeads + head] = joined;
    values[int64_t{blockIdx.x} * kTileHeads * problem.dim + i] = value;
  }
  if (active == 1) return;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) is_last = atomicAdd(&splits.arrivals[unit], 1) == active - 1;
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  if (threadIdx.x == 0) splits.arrivals[unit] = 0;
  for (int i = threadIdx.x; i < elements; i += kSplitThreads) {
    const int head = i / problem.dim;
    float largest = -INFINITY, sum = 0.0f, value = 0.0f;
#pragma unroll 8
    for (int s = 0; s < active; ++s) {
      largest = fmaxf(largest, __ldcg(&sums[s * kTileHeads + head].largest));
    }
#pragma unroll 8
    for (int s = 0; s < active; ++s) {
      const SplitSum& part = sums[s * kTileHeads + head];
      const float factor = power_of_two(__ldcg(&part.largest) - largest);
      sum += factor * __ldcg(&part.sum);
      value += factor * __ldcg(&values[int64_t{s} * kTileHeads * problem.dim + i]);
    }
    problem.result<T>(heads.row, heads.first)[i] = from_float<T>(value / sum);
  }
}

}  // namespace fewbit::cuda::attention
