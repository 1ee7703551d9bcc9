// How flash-decoding shares a row's keys among blocks, and how their findings are joined: in the
// shared memory of a cluster, or through the workspace by the block that comes last.
#pragma once

#include "../common/hopper.cuh"
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

// What the blocks of a cluster send each other: each finishes its own share of the elements.
template <int Width>
struct ClusterFindings {
  float values[kTileHeads * Width * 2];  // [splits, heads, share]
  SplitSum sums[kMaxCluster][kTileHeads];
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

// Called by all blocks of a cluster, once the findings of its first `active` blocks are complete in
// their shared memory. Each block has done one cluster_arrive_relaxed() before. No divisions here,
// and nothing that waits for global memory: every decode step pays for the latency.
template <class T, int Width, class Of>
__device__ void join_in_cluster(const Problem& problem, const Splits& splits, const Heads& heads,
                                int active, const Of& of, ClusterFindings<Width>& received) {
#if __CUDA_ARCH__ >= 900
  const int split = blockIdx.x, share = 1 << splits.share;
  const auto place = [&](int from, int head, int element) {
    return &received.values[((from * heads.count + head) << splits.share) + (element & share - 1)];
  };
  hopper::cluster_wait();  // the others have begun: their shared memory is there
  if (split < active) {
    for (int head = threadIdx.x / kMaxCluster; head < heads.count;
         head += kSplitThreads / kMaxCluster) {
      const int rank = threadIdx.x % kMaxCluster;
      if (rank >= splits.count) break;
      const SplitSum sum = join_sums<Width>(of, head);
      hopper::store_remote(&received.sums[split][head].largest, rank, sum.largest);
      hopper::store_remote(&received.sums[split][head].sum, rank, sum.sum);
    }
    for (int element = threadIdx.x; element < problem.dim; element += kSplitThreads) {
#pragma unroll 2
      for (int head = 0; head < heads.count; ++head) {
        const float largest = join_sums<Width>(of, head).largest;
        const float value = join_values<Width>(of, head, element, largest);
        hopper::store_remote(place(split, head, element), element >> splits.share, value);
      }
    }
  }
  hopper::cluster_sync();
  for (int i = threadIdx.x; i < heads.count << splits.share; i += kSplitThreads) {
    const int head = i >> splits.share, element = (split << splits.share) + (i & share - 1);
    if (element >= problem.dim) continue;
    float largest = -INFINITY, sum = 0.0f, value = 0.0f;
#pragma unroll
    for (int s = 0; s < kMaxCluster; ++s) {
      if (s < active) largest = fmaxf(largest, received.sums[s][head].largest);
    }
#pragma unroll
    for (int s = 0; s < kMaxCluster; ++s) {
      if (s >= active) continue;  // no break: all loads may start at once
      const float factor = power_of_two(received.sums[s][head].largest - largest);
      sum += factor * received.sums[s][head].sum;
      value += factor * *place(s, head, element);
    }
    problem.result<T>(heads.row, heads.first + head)[element] = from_float<T>(value / sum);
  }
#endif
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
