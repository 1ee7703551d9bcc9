// sm_90 inside a kernel: barriers in shared memory, bulk tensor copies, clusters, a warpgroup's
// registers. Its products are in wgmma/.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace fewbit::cuda::hopper {

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Where block `rank` of the cluster has what this block has at `local` in its shared memory.
__device__ __forceinline__ uint32_t remote_address(const void* local, uint32_t rank) {
  uint32_t remote;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
               : "=r"(remote)
               : "r"(shared_address(local)), "r"(rank));
  return remote;
}

// The number of a warp in its block. The compiler knows that it is the same for all lanes.
__device__ __forceinline__ int warp_number() {
  return static_cast<int>(__shfl_sync(0xffffffffu, threadIdx.x / 32, 0));
}

// True in one thread of a warp that is here as a whole, always the same one. The compiler then knows that
// it is alone: a copy that lane 0 starts costs a loop over all lanes that might be there as well.
__device__ __forceinline__ bool elect_one() {
  uint32_t is_elected;
  asm volatile(
      "{\n\t.reg .pred elected;\n\t"
      "elect.sync _|elected, 0xffffffff;\n\t"
      "selp.u32 %0, 1, 0, elected;\n\t}"
      : "=r"(is_elected));
  return is_elected;
}

// --- mbarrier ---------------------------------------------------------------------------------

__device__ __forceinline__ void barrier_init(uint64_t& barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&barrier)),
               "r"(arrivals)
               : "memory");
}

// After the last barrier_init, before the barriers are shared with other threads.
__device__ __forceinline__ void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void arrive_expecting(uint64_t& barrier, uint32_t bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)),
      "r"(bytes)
      : "memory");
}

__device__ __forceinline__ void arrive(uint64_t& barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&barrier))
               : "memory");
}

// The same barrier of block `rank` of the cluster.
__device__ __forceinline__ void arrive_at(uint64_t& barrier, uint32_t rank) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(remote_address(&barrier, rank))
               : "memory");
}

// Likewise, for what this thread knows to be written: whoever acquires the barrier there sees it.
__device__ __forceinline__ void release_to(uint64_t& barrier, uint32_t rank) {
  asm volatile(
      "{\n\t.reg .b32 remote;\n\t"
      "mapa.shared::cluster.u32 remote, %0, %1;\n\t"
      "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [remote];\n\t}" ::"r"(
          shared_address(&barrier)),
      "r"(rank)
      : "memory");
}

// Waits for what other blocks of the cluster release.
__device__ __forceinline__ void acquire(uint64_t& barrier, uint32_t parity) {
  asm volatile(
      "{\n\t.reg .pred done;\n\t"
      "again:\n\t"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n\t"
      "@!done bra again;\n\t}" ::"r"(shared_address(&barrier)),
      "r"(parity)
      : "memory");
}

// Returns once the phase of the given parity has completed. Orders this block's memory accesses; an
// acquire of cluster scope would throw away the L1 cache each time.
__device__ __forceinline__ void wait(uint64_t& barrier, uint32_t parity) {
  asm volatile(
      "{\n\t.reg .pred done;\n\t"
      "again:\n\t"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n\t"
      "@!done bra again;\n\t}" ::"r"(shared_address(&barrier)),
      "r"(parity)
      : "memory");
}

// Whether that phase has completed.
__device__ __forceinline__ bool ready(uint64_t& barrier, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n\t.reg .pred done;\n\t"
      "mbarrier.test_wait.parity.shared::cta.b64 done, [%1], %2;\n\t"
      "selp.u32 %0, 1, 0, done;\n\t}"
      : "=r"(done)
      : "r"(shared_address(&barrier)), "r"(parity)
      : "memory");
  return done;
}

// --- bulk tensor copies -------------------------------------------------------------------------

__device__ __forceinline__ void prefetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// The box at (byte, row) into shared memory; its bytes count on the barrier.
__device__ __forceinline__ void copy_box(void* to, const CUtensorMap& map, uint64_t& barrier,
                                         int byte, int row) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4}], [%2];" ::"r"(shared_address(to)),
      "l"(&map), "r"(shared_address(&barrier)), "r"(byte), "r"(row)
      : "memory");
}

// The same into the same place of each of the Blocks blocks in the mask, counting on each block's own
// barrier. A single block is this one.
template <int Blocks>
__device__ __forceinline__ void copy_box_to_all(void* to, const CUtensorMap& map, uint64_t& barrier,
                                                int byte, int row, uint16_t mask) {
  if constexpr (Blocks == 1) {
    copy_box(to, map, barrier, byte, row);
  } else {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
        ".multicast::cluster [%0], [%1, {%3, %4}], [%2], %5;" ::"r"(shared_address(to)),
        "l"(&map), "r"(shared_address(&barrier)), "r"(byte), "r"(row), "h"(mask)
        : "memory");
  }
}

// The same for data that will not be read again soon: the L2 cache drops it first.
template <int Blocks>
__device__ __forceinline__ void copy_box_once(void* to, const CUtensorMap& map, uint64_t& barrier,
                                              int byte, int row, uint16_t mask) {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  if constexpr (Blocks == 1) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
        ".L2::cache_hint [%0], [%1, {%3, %4}], [%2], %5;" ::"r"(shared_address(to)),
        "l"(&map), "r"(shared_address(&barrier)), "r"(byte), "r"(row), "l"(policy)
        : "memory");
  } else {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
        ".multicast::cluster.L2::cache_hint [%0], [%1, {%3, %4}], [%2], %5, %6;" ::"r"(
            shared_address(to)),
        "l"(&map), "r"(shared_address(&barrier)), "r"(byte), "r"(row), "h"(mask), "l"(policy)
        : "memory");
  }
}

// Orders a thread's accesses to shared memory before bulk copies that others start after a barrier.
__device__ __forceinline__ void copies_follow() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void prefetch_box(const CUtensorMap& map, int byte, int row) {
  asm volatile("cp.async.bulk.prefetch.tensor.2d.L2.global.tile [%0, {%1, %2}];" ::"l"(&map),
               "r"(byte), "r"(row)
               : "memory");
}

// Contiguous bytes, a multiple of 16, into shared memory; they count on the barrier.
__device__ __forceinline__ void copy_bytes(void* to, const void* from, uint32_t bytes,
                                           uint64_t& barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, "
      "[%3];" ::"r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(&barrier))
      : "memory");
}

// --- clusters and warpgroups --------------------------------------------------------------------

__device__ __forceinline__ uint32_t cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

// Whole warps. Threads that only arrive say that they are done with what others wait for.
__device__ __forceinline__ void cluster_arrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
// For blocks that only say how far they are: without release, which would wait for all of a thread's
// writes.
__device__ __forceinline__ void cluster_arrive_relaxed() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ __forceinline__ void cluster_wait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
__device__ __forceinline__ void cluster_sync() {
  cluster_arrive();
  cluster_wait();
}

__device__ __forceinline__ int32_t load_remote(const int32_t* local, uint32_t rank) {
  int32_t value;
  asm volatile("ld.shared::cluster.b32 %0, [%1];"
               : "=r"(value)
               : "r"(remote_address(local, rank))
               : "memory");
  return value;
}

__device__ __forceinline__ int4 load_remote(const int4* local, uint32_t rank) {
  int4 value;
  asm volatile("ld.shared::cluster.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(remote_address(local, rank))
               : "memory");
  return value;
}

__device__ __forceinline__ float4 load_remote(const float4* local, uint32_t rank) {
  const int4 bits = load_remote(reinterpret_cast<const int4*>(local), rank);
  return {__int_as_float(bits.x), __int_as_float(bits.y), __int_as_float(bits.z),
          __int_as_float(bits.w)};
}

// Four sums, added up over the `blocks` blocks of the cluster, which have theirs in the same place.
__device__ __forceinline__ float4 cluster_total(const float* local, int blocks) {
  const auto* from = reinterpret_cast<const float4*>(local);
  float4 sum = *from;
  if (blocks > 1) {
    sum = float4{0, 0, 0, 0};
    for (int other = 0; other < blocks; ++other) {
      const float4 share = load_remote(from, static_cast<uint32_t>(other));
      sum.x += share.x;
      sum.y += share.y;
      sum.z += share.z;
      sum.w += share.w;
    }
  }
  return sum;
}

// A word into the same place of block `rank`'s shared memory, where it counts on the same barrier.
__device__ __forceinline__ void send_word(uint32_t* local, uint32_t value, uint64_t& barrier,
                                          uint32_t rank) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.u32 [%0], %1, [%2];" ::"r"(
                   remote_address(local, rank)),
               "r"(value), "r"(remote_address(&barrier, rank))
               : "memory");
}

// One of the block's 16 barriers.
template <int Id, int Threads>
__device__ __forceinline__ void named_sync() {
  asm volatile("bar.sync %0, %1;" ::"n"(Id), "n"(Threads) : "memory");
}
// Of a whole warp that others wait for, without waiting itself.
template <int Id, int Threads>
__device__ __forceinline__ void named_arrive() {
  asm volatile("bar.arrive %0, %1;" ::"n"(Id), "n"(Threads) : "memory");
}

template <int Registers>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}
template <int Registers>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}

}  // namespace fewbit::cuda::hopper
