// The keys that a warp of flash-decoding treats: every step-th tile of a sequence, a few of them
// always on their way into shared memory. On sm_90 and later one lane has the bulk copy engine fetch a
// tile, which keeps the load units free for the rows that all threads wait for.
#pragma once

#include "../common/hopper.cuh"
#include "decode_tile.cuh"

namespace fewbit::cuda::attention {

// Where a row is. A padding row has position -1.
struct Place {
  int position = -1, sequence = 0, slot = 0;
};

__device__ __forceinline__ Place read_place(const Problem& problem, const Append& append, int row) {
  const Place place{.position = __ldcg(problem.positions + row),
                    .sequence = __ldcg(problem.sequences + row),
                    .slot = __ldcg(append.slots + row)};
  return append.is_known(problem, place.position, place.sequence, place.slot) ? place : Place{};
}

template <class T, int Chunks>
class TileRing {
  using TileOf = Tile<T, Chunks>;
  static constexpr int kKeys = TileOf::kKeys;

 public:
  // tiles and arrived have an element for each stage. prepare() has been called by the warp.
  __device__ TileRing(const Problem& problem, const Heads& heads, const Place& place, int first,
                      int step, TileOf* tiles, uint64_t* arrived, int stages)
      : problem_(problem),
        heads_(heads),
        place_(place),
        next_(first),
        step_(step),
        tiles_(tiles),
        arrived_(arrived),
        stages_(stages) {
#if __CUDA_ARCH__ >= 900
    const int tile = first + lane() * step;
    if (lane() < stages && tile * kKeys <= place.position) copy(lane(), tile);
    next_ += stages * step;
#else
    for (int i = 0; i < stages; ++i) copy_next(i);
#endif
  }

  __device__ static void prepare(uint64_t* arrived, int stages) {
#if __CUDA_ARCH__ >= 900
    if (lane() == 0) {
      for (int i = 0; i < stages; ++i) hopper::barrier_init(arrived[i], 1);
      hopper::barrier_init_fence();
    }
    __syncwarp();
#endif
  }

  // Brings what the ring will begin with into L2.
  __device__ static void prefetch(const Problem& problem, const Heads& heads, const Place& place,
                                  int first, int step, int stages) {
#if __CUDA_ARCH__ >= 900
    const int tile = first + lane() % stages * step;
    if (lane() >= 2 * stages || tile * kKeys > place.position) return;
    const void* cache = lane() < stages ? problem.key_cache : problem.value_cache;
    // Where pages are no multiples of tiles, the rest comes later.
    prefetch_l2(static_cast<const T*>(cache) + row_of(problem, heads, place, tile * kKeys),
                together(problem) * problem.dim * sizeof(T));
#endif
  }

  // The next tile, when it has arrived.
  __device__ __forceinline__ TileOf& wait() {
#if __CUDA_ARCH__ >= 900
    hopper::wait(arrived_[stage_], parity_);
#else
    wait_for_oldest_copy(stages_);
    __syncwarp();
#endif
    return tiles_[stage_];
  }

  // The tile that was waited for is done with: another may take its place.
  __device__ __forceinline__ void advance() {
    __syncwarp();
#if __CUDA_ARCH__ >= 900
    if (lane() == 0 && next_ * kKeys <= place_.position) copy(stage_, next_);
    next_ += step_;
#else
    copy_next(stage_);
#endif
    if (++stage_ == stages_) {
      stage_ = 0;
      parity_ ^= 1;
    }
  }

 private:
  __device__ __forceinline__ static int lane() { return threadIdx.x % 32; }

  // Where a key and its value begin in the caches.
  __device__ __forceinline__ static int64_t row_of(const Problem& problem, const Heads& heads,
                                                   const Place& place, int key) {
    return int64_t{problem.cache_row(place.sequence, heads.kv_head, key, true)} * problem.dim;
  }

  // Keys of a tile that surely lie together: the largest power of two that divides a page.
  __device__ __forceinline__ static int together(const Problem& problem) {
    return min(kKeys, problem.page_size & -problem.page_size);
  }

#if __CUDA_ARCH__ >= 900
  // Rows past the newest key come along: they are inside the caches, and nobody uses them.
  __device__ __forceinline__ void copy(int stage, int tile) {
    TileOf& to = tiles_[stage];
    const auto row_bytes = static_cast<uint32_t>(problem_.dim * sizeof(T));
    hopper::arrive_expecting(arrived_[stage], 2 * kKeys * row_bytes);
    const int run = together(problem_);
    for (int i = 0; i < kKeys; i += run) {
      const int64_t from = row_of(problem_, heads_, place_, tile * kKeys + i);
      hopper::copy_bytes(to.keys + i * problem_.dim,
                         static_cast<const T*>(problem_.key_cache) + from, run * row_bytes,
                         arrived_[stage]);
      hopper::copy_bytes(to.values + i * problem_.dim,
                         static_cast<const T*>(problem_.value_cache) + from, run * row_bytes,
                         arrived_[stage]);
    }
  }

  __device__ __forceinline__ static void prefetch_l2(const void* from, size_t bytes) {
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from),
                 "r"(static_cast<uint32_t>(bytes))
                 : "memory");
  }
#else
  // A tile past the last is a copy of nothing, so that every tile is as many copies behind the newest.
  __device__ void copy_next(int stage) {
    if (next_ * kKeys <= place_.position) {
      const int row_chunks = problem_.dim / 8;
      for (int i = lane(); i < kKeys * row_chunks; i += 32) {
        const int row = i / row_chunks, element = i % row_chunks * 8;
        const int64_t from = row_of(problem_, heads_, place_, next_ * kKeys + row) + element;
        const auto to = [&](T* rows) {
          return static_cast<uint32_t>(
              __cvta_generic_to_shared(rows + row * problem_.dim + element));
        };
        copy_async(to(tiles_[stage].keys), static_cast<const T*>(problem_.key_cache) + from, true);
        copy_async(to(tiles_[stage].values), static_cast<const T*>(problem_.value_cache) + from,
                   true);
      }
    }
    commit_copies();
    next_ += step_;
  }
#endif

  const Problem& problem_;
  const Heads& heads_;
  const Place& place_;
  int next_, step_;
  TileOf* tiles_;
  uint64_t* arrived_;
  int stages_, stage_ = 0;
  uint32_t parity_ = 0;
};

}  // namespace fewbit::cuda::attention
