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

// One bit field of every code, from bit `shift` of it on. shift_of(i) is where code i's field goes in
// its word.
template <class ShiftOf>
void pack_plane(const uint8_t* codes, int64_t dim, int width, int shift, const ShiftOf& shift_of,
                uint8_t* out) {
  const int codes_per_word = 32 / width;
  const uint32_t mask = (1u << width) - 1;
  for (int64_t first = 0; first < dim; first += codes_per_word) {
    uint32_t word = 0;
    for (int64_t i = first; i < dim && i < first + codes_per_word; ++i) {
      word |= (uint32_t{codes[i]} >> shift & mask) << shift_of(i);
    }
    std::memcpy(out + first / codes_per_word * 4, &word, 4);
  }
}

// Where the fields of the first plane lie.
inline auto low_shifts(int width) {
  return [width](int64_t i) { return ops::kv::field_shift(i, width); };
}

inline void pack_codes(const uint8_t* codes, int64_t dim, int bits, uint8_t* out) {
  const int low = bits == 3 ? 2 : bits;
  pack_plane(codes, dim, low, 0, low_shifts(low), out);
  if (bits != 3) return;
  pack_plane(codes, dim, 1, 2, ops::kv::high_shift, out + 4 * ops::kv::low_words(dim, bits));
}

// Four neighbouring codes, from code `first` on, lie in one place of their word's four bytes.
inline uint32_t four_codes(const uint8_t* packed, int64_t first, int64_t low_words, int bits) {
  const auto word = [&](int64_t index) {
    uint32_t value;
    std::memcpy(&value, packed + 4 * index, 4);
    return value;
  };
  constexpr uint32_t kBytes = 0x01010101u;
  const int low = bits == 3 ? 2 : bits;
  const uint32_t mask = ((1u << low) - 1) * kBytes;
  const uint32_t codes = word(first / (32 / low)) >> ops::kv::field_shift(first, low) & mask;
  if (bits != 3) return codes;
  return codes | (word(low_words + first / 32) >> ops::kv::high_shift(first) & kBytes) << 2;
}

inline void unpack_codes(const uint8_t* packed, int64_t dim, int bits, uint8_t* codes) {
  const int64_t low_words = ops::kv::low_words(dim, bits);
  for (int64_t first = 0; first < dim; first += 4) {
    const uint32_t four = four_codes(packed, first, low_words, bits);
    std::memcpy(codes + first, &four, static_cast<size_t>(dim - first < 4 ? dim - first : 4));
  }
}

}  // namespace fewbit::cpu
