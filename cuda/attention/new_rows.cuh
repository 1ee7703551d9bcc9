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

  // By all threads of a block; a barrier must follow.
  __device__ void load(const Problem& problem, const Append& append, const Heads& heads,
                       int position) {
    const int half = problem.dim / 2, pairs = half / 2;
    const float* angles = append.angles(problem, position);
    for (int i = threadIdx.x; i < (heads.count + 1) * pairs; i += kSplitThreads) {
      const int head = i / pairs, at = i % pairs * 2;
      const bool is_query = head < heads.count;
      const T* from = is_query ? problem.query<T>(heads.row, heads.first + head)
                               : append.key<T>(heads.row, heads.kv_head, problem.dim);
      T* to = is_query ? queries[head] : key;
      auto first = load_pack<2>(from + at), second = load_pack<2>(from + half + at);
      if (angles) rotate(first, second, angles + at, half);
      store_pack(to + at, first);
      store_pack(to + half + at, second);
    }
    const T* from = append.value<T>(heads.row, heads.kv_head, problem.dim);
    for (int i = threadIdx.x * 8; i < Width; i += kSplitThreads * 8) {
      store_vector(value + i, i < problem.dim ? load_vector(from + i) : Vector<T>{});
      if (i < problem.dim) continue;
      store_vector(key + i, Vector<T>{});
      for (int head = 0; head < kTileHeads; ++head) store_vector(queries[head] + i, Vector<T>{});
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
