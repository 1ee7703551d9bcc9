// The keys and values of a warp on their way into shared memory: those of 64 tokens (a tile) at a time,
// in blocks of 16 that lie together in a page, a few tiles ahead of their use.
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

// How the rows of a tile lie in shared memory. Where they fill all banks, blocks are spaced so that four
// rows, one of each, meet no bank twice; else they follow each other, so that a tile that lies
// together in a page is one copy, and the order of keys sees to banks.
template <int Bits, int Dim>
struct TileRows {
  static constexpr int kRowBytes = RowShape<Bits, Dim>::kRowBytes;
  static constexpr bool kSpaced = Bits == 8;
  static constexpr int kStride = kBlockKeys * kRowBytes + (kSpaced ? 32 : 0);
  static constexpr int kBytes = kBlocks * kStride;

  static __device__ __forceinline__ int offset(int key) {
    return key / kBlockKeys * kStride + key % kBlockKeys * kRowBytes;
  }

  // Row r of block b of the products, r = 2 * pair + second + 8 * upper, is this key of a tile. Lanes
  // that read at the same time differ in pair and second (keys), or in pair (values).
  static __device__ __forceinline__ int key_of(int b, int upper, int pair, int second) {
    if constexpr (Bits == 8) return pair * kBlockKeys + 4 * b + 2 * upper + second;
    if constexpr (Bits == 4) {
      return 16 * b + 8 * upper + (pair & 2) * 2 + 2 * second + ((pair ^ second) & 1);
    }
    return 16 * b + 8 * second + 2 * (pair ^ 2 * second) + upper;
  }
};

// A place of a ring: the keys and the values of a tile, or one of the two; with keys come the scales of
// tokens.
template <int Bits, int Dim, bool Dynamic, int Sides>
struct alignas(16) TilePlace {
  uint8_t rows[Sides][TileRows<Bits, Dim>::kBytes];
  __half2 key_scales[Dynamic ? kTileKeys : 4];
  __half2 value_scales[Dynamic ? kTileKeys : 4];
};

// Parts of tiles are numbered in the order of their use: all of a tile, or its keys, then its values.
// Part n has place n % Places.
template <int Bits, int Dim, bool Dynamic, int Sides, int Places>
struct alignas(16) KeyRing {
  using PlaceOf = TilePlace<Bits, Dim, Dynamic, Sides>;
  using Rows = TileRows<Bits, Dim>;
  static constexpr int kParts = 2 / Sides;                       // of a tile
  static constexpr int kTiles = (Places + kParts - 1) / kParts;  // in a full ring, the last in part
  PlaceOf places[Places];
  uint8_t past_end[64];  // lanes without words of their own read past a row
  uint64_t full[Places];

  // By one warp, as everything here.
  __device__ __forceinline__ void init() {
#if __CUDA_ARCH__ >= 900
    if (threadIdx.x % 32 == 0) {
      for (int i = 0; i < Places; ++i) hopper::barrier_init(full[i], 1);
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
      for (int i = 0; i < Places; ++i) end_barrier(full[i]);
    }
    init();
#else
    wait_copies<0>();
    __syncwarp();
#endif
  }

  // Blocks of a tile that surely lie together in a page.
  static __device__ __forceinline__ int together(const Problem& problem) {
    return !Rows::kSpaced && problem.page_size % kTileKeys == 0 ? kBlocks : 1;
  }

  // Brings a tile into the second-level cache. What another kernel still writes there is in no danger.
  static __device__ __forceinline__ void prefetch(const Problem& problem, uint32_t cache_row,
                                                  int tile, int tiles) {
#if __CUDA_ARCH__ >= 900
    const int lane = threadIdx.x % 32, run = together(problem);
    if (lane * run >= kBlocks || tile >= tiles) return;
    const uint32_t bytes = run * kBlockKeys * Rows::kRowBytes;
    prefetch_bytes(problem.key_row(cache_row), bytes);
    prefetch_bytes(problem.value_row(cache_row), bytes);
#endif
  }

  // Where the blocks of a tile lie, of which lane i has i % 4: the page, and when that is needed the
  // row in the caches. Past the last key it is the last block again.
  static __device__ __forceinline__ int first_key(int tile, int position) {
    const int key = tile * kTileKeys + static_cast<int>(threadIdx.x) % kBlocks * kBlockKeys;
    return min(key, position / kBlockKeys * kBlockKeys);
  }
  static __device__ __forceinline__ int32_t look_up(const Problem& problem, const Place& place,
                                                    int tile) {
    return problem.block_table[int64_t{place.sequence} * problem.table_columns +
                               problem.page_of(first_key(tile, place.position))];
  }
  static __device__ __forceinline__ uint32_t row_in(const Problem& problem, int32_t page,
                                                    const Place& place, int kv_head, int tile) {
    return problem.row_in(page, kv_head, first_key(tile, place.position));
  }

  // Starts the copies of a part (0: all or keys, 1: values) of a tile, or counts as having done so if
  // there is none. Rows past the newest key come along: they are inside the caches.
  __device__ __forceinline__ void start(int place, int part, const Problem& problem,
                                        uint32_t cache_row, int tile, int tiles) {
    constexpr uint32_t kScaleBytes = kBlockKeys * sizeof(__half2);
    constexpr uint32_t kSideBytes = kBlockKeys * Rows::kRowBytes;
    PlaceOf& to = places[place];
    const int lane = threadIdx.x % 32;
    const bool scales = Dynamic && part == 0;
#if __CUDA_ARCH__ >= 900
    if (tile >= tiles) return;
    if (lane == 0) {
      hopper::arrive_expecting(full[place],
                               kBlocks * (Sides * kSideBytes + (scales ? 2 * kScaleBytes : 0)));
    }
    __syncwarp();
    const int run = together(problem), block = lane * run;
    if (block >= kBlocks) return;
#pragma unroll
    for (int side = 0; side < Sides; ++side) {
      hopper::copy_bytes(
          to.rows[side] + block * Rows::kStride,
          part + side > 0 ? problem.value_row(cache_row) : problem.key_row(cache_row),
          run * kSideBytes, full[place]);
    }
    if (!scales) return;
    hopper::copy_bytes(to.key_scales + block * kBlockKeys, problem.key_scales + cache_row,
                       run * kScaleBytes, full[place]);
    hopper::copy_bytes(to.value_scales + block * kBlockKeys, problem.value_scales + cache_row,
                       run * kScaleBytes, full[place]);
#else
    for (int block = 0; tile < tiles && block < kBlocks; ++block) {
      const uint32_t row = __shfl_sync(kFullWarp, cache_row, block);
      const auto copy = [&](void* to, const void* from, int bytes) {
        const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
        for (int at = lane * 16; at < bytes; at += 32 * 16) {
          attention::copy_async(address + at, static_cast<const char*>(from) + at, true);
        }
      };
      for (int side = 0; side < Sides; ++side) {
        copy(to.rows[side] + block * Rows::kStride,
             part + side > 0 ? problem.value_row(row) : problem.key_row(row), kSideBytes);
      }
      if (!scales) continue;
      copy(to.key_scales + block * kBlockKeys, problem.key_scales + row, kScaleBytes);
      copy(to.value_scales + block * kBlockKeys, problem.value_scales + row, kScaleBytes);
    }
    commit_copies();
#endif
  }

  // Returns when the part is there; round counts the uses of its place.
  __device__ __forceinline__ void wait(int place, int round) {
#if __CUDA_ARCH__ >= 900
    hopper::wait(full[place], round & 1);
#else
    wait_copies<Places - 1>();
    __syncwarp();
#endif
  }
};

}  // namespace fewbit::cuda::kv
