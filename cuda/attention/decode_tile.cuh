// Sixteen keys of a sequence and their values in shared memory, as a warp of flash-decoding wants
// them.
#pragma once

#include "fragment.cuh"
#include "new_rows.cuh"

namespace fewbit::cuda::attention {

// Rows lie as close as in the caches, dim elements apart. Chunks: 32-element parts of a head. Lanes
// are named as in fragment.cuh.
template <class T, int Chunks>
struct Tile {
  static constexpr int kKeys = 16;
  static constexpr int kPairs = (Chunks + 1) / 2;  // 64-element parts of a value row
  static constexpr int kWidth = kPairs * 64;
  using Fresh = NewRows<T, kWidth>;

  alignas(16) T keys[kKeys * Chunks * 32];
  alignas(16) T values[kKeys * Chunks * 32];

  // Puts the newest key and value into a row, and zeros into the values after it.
  __device__ __forceinline__ void insert(const Fresh& fresh, int row, int dim) {
    for (int i = threadIdx.x % 32 * 8; i < dim; i += 256) {
      store_vector(keys + row * dim + i, load_vector(fresh.key + i));
      store_vector(values + row * dim + i, load_vector(fresh.value + i));
      for (int after = row + 1; after < kKeys; ++after) {
        store_vector(values + after * dim + i, Vector<T>{});
      }
    }
  }

  // Elements 8 * (member + 4i) .. + 7 of key group + 8 * half.
  __device__ __forceinline__ uint4 key_part(int half, int i, int dim) const {
    const int lane = threadIdx.x % 32;
    return part(keys, lane / 4 + 8 * half, lane % 4 + 4 * i, dim);
  }

  // Elements 8 * (group + 8j) .. + 7 of value 2 * member + key % 2 + 8 * (key / 2).
  __device__ __forceinline__ uint4 value_part(int key, int j, int dim) const {
    const int lane = threadIdx.x % 32;
    return part(values, lane % 4 * 2 + key % 2 + 8 * (key / 2), lane / 4 + 8 * j, dim);
  }

 private:
  __device__ __forceinline__ static uint4 part(const T* rows, int row, int chunk, int dim) {
    if (chunk * 8 >= dim) return uint4{0, 0, 0, 0};
    return *reinterpret_cast<const uint4*>(rows + row * dim + chunk * 8);
  }
};

}  // namespace fewbit::cuda::attention
