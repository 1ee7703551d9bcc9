// The keys and values of a warp on their way into shared memory: 64 tokens at a time, in blocks of 16
// that lie together in a page, a few tiles ahead of their use.
#pragma once

#include "../attention/fragment.cuh"
#include "../common/hopper.cuh"
#include "fragments.cuh"
#include "problem.cuh"

namespace fewbit::cuda::kv {

#if __CUDA_ARCH__ >= 900
// A barrier may be made anew after this.
__device__ __forceinline__ void end_barrier(uint64_t& barrier) {
  asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(hopper::shared_address(&barrier))
               : "memory");
}

// Contiguous bytes, a multiple of 16, into the second-level cache.
__device__ __forceinline__ void prefetch_bytes(const void* from, uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}
#endif

constexpr int kBlockKeys = 16;
constexpr int kBlocks = 4;
constexpr int kTileKeys = kBlockKeys * kBlocks;

// Blocks are spaced so that four rows, one of each, meet no bank twice.
template <int Bits, int Dim>
struct Block {
  static constexpr int kRowBytes = RowShape<Bits, Dim>::kRowBytes;
  static constexpr int kBytes = kBlockKeys * kRowBytes;
  static constexpr int kStride = kBytes + 32;
};

template <int Bits, int Dim, bool Dynamic>
struct alignas(16) Stage {
  uint8_t keys[kBlocks * Block<Bits, Dim>::kStride];
  uint8_t values[kBlocks * Block<Bits, Dim>::kStride];
  __half2 key_scales[Dynamic ? kTileKeys : 4];
  __half2 value_scales[Dynamic ? kTileKeys : 4];
};

template <int Bits, int Dim, bool Dynamic, int Stages>
struct alignas(16) KeyRing {
  using StageOf = Stage<Bits, Dim, Dynamic>;
  StageOf stages[Stages];
  uint8_t past_end[64];  // lanes without words of their own read past a row
  uint64_t full[Stages];

  // By one warp, as everything here.
  __device__ __forceinline__ void init() {
#if __CUDA_ARCH__ >= 900
    if (threadIdx.x % 32 == 0) {
      for (int i = 0; i < Stages; ++i) hopper::barrier_init(full[i], 1);
      hopper::barrier_init_fence();
    }
    __syncwarp();
#endif
  }

  // After copies that were for nothing: waits for them and starts anew.
  __device__ __forceinline__ void reset(int started) {
#if __CUDA_ARCH__ >= 900
    for (int i = 0; i < started; ++i) hopper::wait(full[i], 0);
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
      for (int i = 0; i < Stages; ++i) end_barrier(full[i]);
    }
    init();
#else
    wait_copies<0>();
    __syncwarp();
#endif
  }

  // Brings a tile into the second-level cache. What another kernel still writes there is in no danger.
  static __device__ __forceinline__ void prefetch(const Problem& problem, uint32_t cache_row,
                                                  int tile, int position) {
#if __CUDA_ARCH__ >= 900
    const int lane = threadIdx.x % 32, block = lane % kBlocks;
    if (lane >= 2 * kBlocks || tile * kTileKeys + block * kBlockKeys > position) return;
    prefetch_bytes(lane < kBlocks ? problem.key_row(cache_row) : problem.value_row(cache_row),
                   Block<Bits, Dim>::kBytes);
#endif
  }

  // Where the blocks of a tile lie: lane i gives that of block i % 4. Blocks past the last key are
  // never copied.
  static __device__ __forceinline__ uint32_t look_up(const Problem& problem, int sequence,
                                                     int kv_head, int tile, int position) {
    const int key = tile * kTileKeys + static_cast<int>(threadIdx.x) % kBlocks * kBlockKeys;
    return problem.cache_row(sequence, kv_head, min(key, position / kBlockKeys * kBlockKeys));
  }

  // Starts the copies of a tile, or counts as having done so if there is none.
  __device__ __forceinline__ void start(int stage, const Problem& problem, uint32_t cache_row,
                                        int tile, int tiles, int position) {
    using Of = Block<Bits, Dim>;
    StageOf& to = stages[stage];
    const int lane = threadIdx.x % 32;
    const int blocks =
        tile < tiles ? min(kBlocks, (position - tile * kTileKeys) / kBlockKeys + 1) : 0;
    constexpr uint32_t kScaleBytes = kBlockKeys * sizeof(__half2);
#if __CUDA_ARCH__ >= 900
    if (blocks == 0) return;
    const int block = lane % kBlocks, what = lane / kBlocks;
    if (lane == 0) {
      constexpr uint32_t kBytes = 2 * (Of::kBytes + (Dynamic ? kScaleBytes : 0));
      hopper::arrive_expecting(full[stage], blocks * kBytes);
    }
    __syncwarp();
    if (block >= blocks) return;
    if (what == 0) {
      hopper::copy_bytes(to.keys + block * Of::kStride, problem.key_row(cache_row), Of::kBytes,
                         full[stage]);
    } else if (what == 1) {
      hopper::copy_bytes(to.values + block * Of::kStride, problem.value_row(cache_row), Of::kBytes,
                         full[stage]);
    } else if (Dynamic && what == 2) {
      hopper::copy_bytes(to.key_scales + block * kBlockKeys, problem.key_scales + cache_row,
                         kScaleBytes, full[stage]);
    } else if (Dynamic && what == 3) {
      hopper::copy_bytes(to.value_scales + block * kBlockKeys, problem.value_scales + cache_row,
                         kScaleBytes, full[stage]);
    }
#else
    for (int block = 0; block < blocks; ++block) {
      const uint32_t row = __shfl_sync(kFullWarp, cache_row, block);
      const auto copy = [&](void* to, const void* from, int bytes) {
        const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
        for (int at = lane * 16; at < bytes; at += 32 * 16) {
          attention::copy_async(address + at, static_cast<const char*>(from) + at, true);
        }
      };
      copy(to.keys + block * Of::kStride, problem.key_row(row), Of::kBytes);
      copy(to.values + block * Of::kStride, problem.value_row(row), Of::kBytes);
      if (!Dynamic) continue;
      copy(to.key_scales + block * kBlockKeys, problem.key_scales + row, kScaleBytes);
      copy(to.value_scales + block * kBlockKeys, problem.value_scales + row, kScaleBytes);
    }
    commit_copies();
#endif
  }

  // Returns when the tile is there; round counts the uses of the stage.
  __device__ __forceinline__ void wait(int stage, int round) {
#if __CUDA_ARCH__ >= 900
    hopper::wait(full[stage], round & 1);
#else
    wait_copies<Stages - 1>();
    __syncwarp();
#endif
  }
};

}  // namespace fewbit::cuda::kv
