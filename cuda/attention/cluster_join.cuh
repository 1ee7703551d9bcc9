// How the blocks of a cluster join their parts of a row's attention: each finishes its own share of the
// elements, for which the others send what they found straight into its shared memory. What arrives
// counts on a barrier there, so that nobody waits for more than its own share, and nobody's writes
// have to be acknowledged.
#pragma once

#include "../common/hopper.cuh"
#include "splits.cuh"

namespace fewbit::cuda::attention {

#if __CUDA_ARCH__ >= 900
// Into the same place of block `rank`'s shared memory, where it counts on the same barrier.
__device__ __forceinline__ void send_floats(float* local, const float4& value, uint64_t& barrier,
                                            int rank) {
  asm volatile(
      "{\n\t.reg .b32 to, signal;\n\t"
      "mapa.shared::cluster.u32 to, %0, %6;\n\t"
      "mapa.shared::cluster.u32 signal, %5, %6;\n\t"
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [to], {%1, %2, %3, %4}, "
      "[signal];\n\t}" ::"r"(hopper::shared_address(local)),
      "f"(value.x), "f"(value.y), "f"(value.z), "f"(value.w), "r"(hopper::shared_address(&barrier)),
      "r"(rank)
      : "memory");
}
__device__ __forceinline__ void send_floats(float* local, const float2& value, uint64_t& barrier,
                                            int rank) {
  asm volatile(
      "{\n\t.reg .b32 to, signal;\n\t"
      "mapa.shared::cluster.u32 to, %0, %4;\n\t"
      "mapa.shared::cluster.u32 signal, %3, %4;\n\t"
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [to], {%1, %2}, "
      "[signal];\n\t}" ::"r"(hopper::shared_address(local)),
      "f"(value.x), "f"(value.y), "r"(hopper::shared_address(&barrier)), "r"(rank)
      : "memory");
}
#endif

// Shares is the most that all blocks' shares of a head may come to.
template <int Width, int Shares = 2 * Width>
struct ClusterJoin {
  alignas(16) float values[kTileHeads * Shares];  // [splits, heads, share]
  SplitSum sums[kMaxCluster][kTileHeads];
  uint64_t arrived;

#if __CUDA_ARCH__ >= 900
  // By all threads of all blocks, before anything else. Each must say by arriving at the cluster's
  // barrier, after this, that others may send it what they found.
  __device__ __forceinline__ void prepare() {
    if (threadIdx.x == 0) {
      hopper::barrier_init(arrived, 1);
      hopper::barrier_init_fence();
    }
  }

  // By all threads of all blocks, once the findings of the first `active` blocks are complete in their
  // shared memory: of(w) is what warp w found.
  template <class T, class Of>
  __device__ __forceinline__ void finish(const Problem& problem, const Splits& splits,
                                         const Heads& heads, int active, const Of& of) {
    const int split = blockIdx.x, share = 1 << splits.share, begin = split << splits.share;
    const int own = min(max(problem.dim - begin, 0), share);
    hopper::cluster_wait();  // the others have begun: their shared memory is there
    if (threadIdx.x == 0) {
      const int elements = own > 0 ? own + 2 : 0;  // and a SplitSum
      hopper::arrive_expecting(arrived, active * heads.count * elements * sizeof(float));
    }
    if (split < active) send(problem, splits, heads, of);
    if (own == 0) return;
    hopper::wait(arrived, 0);
    for (int i = threadIdx.x; i < heads.count << splits.share; i += kSplitThreads) {
      const int head = i >> splits.share, element = begin + (i & share - 1);
      if (element >= problem.dim) continue;
      float largest = -INFINITY, sum = 0.0f, value = 0.0f;
#pragma unroll
      for (int s = 0; s < kMaxCluster; ++s) {
        if (s < active) largest = fmaxf(largest, sums[s][head].largest);
      }
#pragma unroll
      for (int s = 0; s < kMaxCluster; ++s) {
        if (s >= active) continue;  // no break: all loads may start at once
        const float factor = power_of_two(sums[s][head].largest - largest);
        sum += factor * sums[s][head].sum;
        value += factor * *place(splits, heads, s, head, element);
      }
      problem.result<T>(heads.row, heads.first + head)[element] = from_float<T>(value / sum);
    }
  }

 private:
  __device__ __forceinline__ float* place(const Splits& splits, const Heads& heads, int from,
                                          int head, int element) {
    const int share = 1 << splits.share;
    return &values[((from * heads.count + head) << splits.share) + (element & share - 1)];
  }

  // Four elements a thread; with the first of a share goes the sum that belongs to it.
  template <class Of>
  __device__ __forceinline__ void send(const Problem& problem, const Splits& splits,
                                       const Heads& heads, const Of& of) {
    const int quads = problem.dim / 4, split = blockIdx.x;
    for (int i = threadIdx.x; i < heads.count * quads; i += kSplitThreads) {
      const int head = i / quads, element = i % quads * 4, rank = element >> splits.share;
      const SplitSum joined = join_sums<Width>(of, head);
      float4 value{};
#pragma unroll
      for (int w = 0; w < kSplitWarps; ++w) {
        const float factor = power_of_two(of(w).sums[head].largest - joined.largest);
        const float4 part = *reinterpret_cast<const float4*>(&of(w).values[head][element]);
        value.x += factor * part.x;
        value.y += factor * part.y;
        value.z += factor * part.z;
        value.w += factor * part.w;
      }
      send_floats(place(splits, heads, split, head, element), value, arrived, rank);
      if (element & (1 << splits.share) - 1) continue;
      send_floats(&sums[split][head].largest, float2{joined.largest, joined.sum}, arrived, rank);
    }
  }
#endif
};

}  // namespace fewbit::cuda::attention
