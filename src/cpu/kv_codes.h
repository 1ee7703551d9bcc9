// Codes of keys and values, between one byte each and the packed rows of ops/kv_codes.h.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "../ops/kv_codes.h"

namespace fewbit::cpu {

// The nearest code; fmax and fmin rather than clamp: a NaN becomes 0.
inline float clamp_code(float code, int width) {
  const auto largest = static_cast<float>(ops::kv::largest_code(width));
  return std::fmin(std::fmax(code, 0.0f), largest);
}

// The code of x on the grid of its channel.
inline float static_code(float x, float scale, float zero, int width) {
  return clamp_code(std::nearbyint(x / scale) + zero, width);
}

// Where code i of a plane of `width`-bit fields lies in its word.
inline int field_shift(int64_t i, int width) {
  const int codes_per_word = 32 / width;
  const int within = static_cast<int>(i % codes_per_word);
  return within % 4 * 8 + within / 4 * width;
}

inline void pack_plane(const uint8_t* codes, int64_t dim, int width, int shift, uint8_t* out) {
  const int codes_per_word = 32 / width;
  const uint32_t mask = (1u << width) - 1;
  for (int64_t first = 0; first < dim; first += codes_per_word) {
    uint32_t word = 0;
    for (int64_t i = first; i < dim && i < first + codes_per_word; ++i) {
      word |= (uint32_t{codes[i]} >> shift & mask) << field_shift(i, width);
    }
    std::memcpy(out + first / codes_per_word * 4, &word, 4);
  }
}

inline void unpack_plane(const uint8_t* packed, int64_t dim, int width, int shift, uint8_t* codes) {
  const int codes_per_word = 32 / width;
  const uint32_t mask = (1u << width) - 1;
  for (int64_t first = 0; first < dim; first += codes_per_word) {
    uint32_t word;
    std::memcpy(&word, packed + first / codes_per_word * 4, 4);
    for (int64_t i = first; i < dim && i < first + codes_per_word; ++i) {
      codes[i] |= static_cast<uint8_t>((word >> field_shift(i, width) & mask) << shift);
    }
  }
}

inline void pack_codes(const uint8_t* codes, int64_t dim, int bits, uint8_t* out) {
  const int low = bits == 3 ? 2 : bits;
  pack_plane(codes, dim, low, 0, out);
  if (bits == 3) pack_plane(codes, dim, 1, 2, out + 4 * ops::kv::low_words(dim, bits));
}

inline void unpack_codes(const uint8_t* packed, int64_t dim, int bits, uint8_t* codes) {
  std::memset(codes, 0, dim);
  const int low = bits == 3 ? 2 : bits;
  unpack_plane(packed, dim, low, 0, codes);
  if (bits == 3) unpack_plane(packed + 4 * ops::kv::low_words(dim, bits), dim, 1, 2, codes);
}

}  // namespace fewbit::cpu
