// Few-bit codes as words of eight fields of four bits, one code in the lowest bits of each.
#pragma once

#include "codes.cuh"

namespace fewbit::cuda::gptq {

constexpr int kNibbleWords = 4;  // of a chunk

// Turns a chunk into such words. Bits of a field above its code are anything.
template <int Bits>
__device__ __forceinline__ void nibble_words(const Chunk<Bits>& chunk,
                                             uint32_t (&words)[kNibbleWords]) {
  static_assert(Bits <= 4, "wider codes have other kernels");
#pragma unroll
  for (int i = 0; i < kNibbleWords; ++i) {
    if constexpr (Bits == 4) {
      words[i] = chunk.words[i];
    } else {
      // Of every other pair of a word of low bits.
      words[i] = chunk.words[i / 2] >> (i % 2 * 2);
      if constexpr (Bits == 3) {
        const uint32_t high = i == 0   ? chunk.high
                              : i == 1 ? chunk.high >> 1
                                       : chunk.high << (i - 1);
        words[i] = select_bits(0x33333333u, words[i], high);
      }
    }
  }
}

// Where a word's fields lie in a chunk. Field i of a half has position
//   nibble_position<Bits>(word) + i * kNibbleStep<Bits> of the lower half, and the next of the upper.
template <int Bits>
constexpr int kNibbleStep = Bits == 4 ? 2 : 4;
template <int Bits>
constexpr __host__ __device__ int nibble_position(int word) {
  return Bits == 4 ? 8 * word : word / 2 * 16 + word % 2 * 2;
}

}  // namespace fewbit::cuda::gptq
