// The rows of a decode step that are not in the cache: a block's queries and the new key, rotated
// and rounded on their way into shared memory, and the new value. Zeros fill them up to Width.
#pragma once

#include "rotary.cuh"
#include "splits.cuh"

namespace fewbit::cuda::attention {

template <class T, int Width>
struct NewRows {
  static constexpr int kStride = Width + 32;  // eight rows' chunks meet no bank twice
  alignas(16) T queries[kTileHeads][kStride];
  alignas(16) T key[Width];
  alignas(16) T value[Width];

  // What a thread brings: parts of every n-th row of its warp, queries first and the key after them.
  struct Parts {
    static constexpr int kTurns = (kTileHeads + kSplitWarps) / kSplitWarps;
    static constexpr int kSteps = (Width + 127) / 128;
    Pack<T, 2> first[kTurns][kSteps] = {}, second[kTurns][kSteps] = {};  // of either half of a row
    Vector<T> value{};

    // Starts the loads.
    __device__ __forceinline__ void load(const Problem& problem, const Append& append,
                                         const Heads& heads) {
      const int half = problem.dim / 2;
#pragma unroll
      for (int turn = 0; turn < kTurns; ++turn) {
        const int row = threadIdx.x / 32 + turn * kSplitWarps;
        if (row > heads.count) continue;
        const T* from = row < heads.count ? problem.query<T>(heads.row, heads.first + row)
                                          : append.key<T>(heads.row, heads.kv_head, problem.dim);
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
          const int at = element(step);
          if (at >= half) continue;
          first[turn][step] = load_pack<2>(from + at);
          second[turn][step] = load_pack<2>(from + half + at);
        }
      }
      if (value_element() < problem.dim) {
        value =
            load_vector(append.value<T>(heads.row, heads.kv_head, problem.dim) + value_element());
      }
    }

    __device__ static int element(int step) { return threadIdx.x % 32 * 2 + step * 64; }
    __device__ static int value_element() {
      static_assert(Width <= kSplitThreads * 8);
      return (kSplitThreads - 1 - static_cast<int>(threadIdx.x)) * 8;
    }
  };

  // Rotates and stores them. By all threads of a block; a barrier must follow.
  __device__ __forceinline__ void take(Parts& parts, const Problem& problem, const Append& append,
                                       const Heads& heads, int position) {
    const int half = problem.dim / 2;
    const float* angles = append.angles(problem, position);
#pragma unroll
    for (int step = 0; step < Parts::kSteps; ++step) {
      const int at = Parts::element(step);
      if (at >= half) continue;
#pragma unroll
      for (int turn = 0; turn < Parts::kTurns; ++turn) {
        const int row = threadIdx.x / 32 + turn * kSplitWarps;
        auto &first = parts.first[turn][step], &second = parts.second[turn][step];
        if (row > heads.count) continue;
        if (angles) rotate(first, second, angles + at, half);
        T* to = row < heads.count ? queries[row] : key;
        store_pack(to + at, first);
        store_pack(to + half + at, second);
      }
    }
    const int element = Parts::value_element();
    if (element >= Width) return;
    store_vector(value + element, parts.value);
    if (element < problem.dim) return;
    store_vector(key + element, Vector<T>{});
    for (int head = 0; head < kTileHeads; ++head) {
      store_vector(queries[head] + element, Vector<T>{});
    }
  }

  // By all threads of a block, after the barrier.
  __device__ void store(const Problem& problem, const Heads& heads, int slot) const {
    const int64_t at = int64_t{problem.slot_row(slot, heads.kv_head)} * problem.dim;
    T* key_to = static_cast<T*>(const_cast<void*>(problem.key_cache)) + at;
    T* value_to = static_cast<T*>(const_cast<void*>(problem.value_cache)) + at;
    for (int i = threadIdx.x * 8; i < problem.dim; i += kSplitThreads * 8) {
      store_vector(key_to + i, load_vector(key + i));
      store_vector(value_to + i, load_vector(value + i));
    }
  }
};

}  // namespace fewbit::cuda::attention
