// Codes out of their words (src/ops/affine_codes.h), as signed bytes for int8 products.
#pragma once

#include "product.cuh"

namespace fewbit::cuda::affine {

// u - zero in each byte, where both are below 128: nothing is borrowed from a neighbour.
__device__ __forceinline__ uint32_t subtract_bytes(uint32_t u, uint32_t zeros) {
  return ((u | 0x80808080u) - zeros) ^ 0x80808080u;
}

// Eight codes of 4 bits in two's complement, as a row of activations has them, to bytes.
__device__ __forceinline__ uint2 widen_nibbles(uint32_t word) {
  const uint32_t even = word & 0x0f0f0f0fu, odd = word >> 4 & 0x0f0f0f0fu;
  const auto sign = [](uint32_t nibbles) {
    return ((nibbles ^ 0x08080808u) + 0x78787878u) ^ 0x80808080u;
  };
  return {sign(__byte_perm(even, odd, 0x5140)), sign(__byte_perm(even, odd, 0x7362))};
}

// What a lane holds of a chunk of one row of the weight: part lane % 4.
template <int Bits>
struct ChunkPart;

template <>
struct ChunkPart<4> {
  uint4 words;

  __device__ __forceinline__ uint32_t word(int i) const {
    return i == 0 ? words.x : i == 1 ? words.y : i == 2 ? words.z : words.w;
  }
  // Positions 32 block + 16 half + 4 (lane % 4) and the three behind it.
  __device__ __forceinline__ uint32_t weights(int block, int half, uint32_t zeros) const {
    return subtract_bytes(word(block) >> 4 * half & 0x0f0f0f0fu, zeros);
  }
};

template <>
struct ChunkPart<8> {
  uint4 words[2];

  __device__ __forceinline__ uint32_t weights(int block, int half, uint32_t) const {
    const uint4& four = words[block / 2];
    return block % 2 == 0 ? (half == 0 ? four.x : four.y) : (half == 0 ? four.z : four.w);
  }
};

template <>
struct ChunkPart<3> {
  uint2 low;
  uint32_t high;

  __device__ __forceinline__ uint32_t weights(int block, int half, uint32_t zeros) const {
    const int field = 2 * block + half;
    const uint32_t two = (field < 4 ? low.x : low.y) >> 2 * (field % 4) & 0x03030303u;
    const uint32_t top = (field < 2 ? high << (2 - field) : high >> (field - 2)) & 0x04040404u;
    return subtract_bytes(two | top, zeros);
  }
};

}  // namespace fewbit::cuda::affine
