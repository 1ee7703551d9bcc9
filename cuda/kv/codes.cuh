// Codes of keys and values on the device, one at a time; src/ops/kv_codes.h says how they lie.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "../../src/ops/kv_codes.h"

namespace fewbit::cuda::kv {

// The nearest code; fmaxf and fminf: a NaN becomes 0.
__device__ __forceinline__ float clamp_code(float code, float largest) {
  return fminf(fmaxf(code, 0.0f), largest);
}

// The code of x on the grid of its channel.
__device__ __forceinline__ float static_code(float x, float scale, float zero, float largest) {
  return clamp_code(rintf(__fdiv_rn(x, scale)) + zero, largest);
}

// Scale and smallest value of a token's head.
__device__ __forceinline__ __half2 scale_pair(float least, float most, float largest) {
  return {__float2half_rn(__fdiv_rn(most - least, largest)), __float2half_rn(least)};
}

// The code of x by those.
__device__ __forceinline__ float dynamic_code(float x, __half2 pair, float largest) {
  const float scale = __low2float(pair), smallest = __high2float(pair);
  return scale > 0.0f ? clamp_code(rintf(__fdiv_rn(x - smallest, scale)), largest) : 0.0f;
}

// Calls body with std::integral_constant of the width of codes.
template <class Body>
void with_width(int bits, Body&& body) {
  if (bits == 8) return body(std::integral_constant<int, 8>{});
  if (bits == 4) return body(std::integral_constant<int, 4>{});
  body(std::integral_constant<int, 3>{});
}

// Code i of a row.
template <int Bits>
__device__ __forceinline__ uint32_t code_at(const uint32_t* row, int i, int low_words) {
  if constexpr (Bits == 3) {
    const uint32_t low = row[i / 16] >> ops::kv::field_shift(i, 2);
    const uint32_t high = row[low_words + i / 32] >> ops::kv::high_shift(i);
    return (low & 3) | (high & 1) << 2;
  } else {
    return row[i / (32 / Bits)] >> ops::kv::field_shift(i, Bits) & ops::kv::largest_code(Bits);
  }
}

// Word `index` of a packed row. codes holds four codes a word, one in each byte, and zeros from the
// dimension up to a multiple of 32.
template <int Bits>
__device__ __forceinline__ uint32_t pack_word(const uint32_t* codes, int index, int low_words) {
  if constexpr (Bits == 8) {
    return codes[index];
  } else if constexpr (Bits == 4) {
    return codes[2 * index] | codes[2 * index + 1] << 4;
  } else {
    const bool is_low = index < low_words;
    const uint32_t* from = codes + (is_low ? 4 * index : 8 * (index - low_words));
    uint32_t word = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (is_low && i < 4) word |= (from[i] & 0x03030303u) << ops::kv::field_shift(4 * i, 2);
      if (!is_low) word |= (from[i] >> 2 & 0x01010101u) << ops::kv::high_shift(4 * i);
    }
    return word;
  }
}

}  // namespace fewbit::cuda::kv
