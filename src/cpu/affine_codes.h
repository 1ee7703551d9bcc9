// Codes of activations and weights as ops/affine_codes.h lays them out.
#pragma once

#include <cstdint>

#include "../ops/affine_codes.h"

namespace fewbit::cpu {

// Two's complement codes of 4 bits, two in a byte.
inline void pack_nibbles(const int8_t* codes, int64_t n, uint8_t* out) {
  for (int64_t i = 0; i < n / 2; ++i) {
    out[i] = static_cast<uint8_t>((codes[2 * i] & 15) | (codes[2 * i + 1] & 15) << 4);
  }
}

inline void unpack_nibbles(const uint8_t* packed, int64_t n, int8_t* out) {
  for (int64_t i = 0; i < n / 2; ++i) {
    out[2 * i] = static_cast<int8_t>(((packed[i] & 15) ^ 8) - 8);
    out[2 * i + 1] = static_cast<int8_t>((packed[i] >> 4 ^ 8) - 8);
  }
}

// Weights of positions begin .. begin + count of a row, both multiples of 4, less the zero point.
// `low` and `high` are the row's planes; of 8 bits the codes are weights already, and zero is 0.
template <int Bits>
inline void unpack_weights(const uint8_t* low, const uint8_t* high, int64_t begin, int64_t count,
                           int zero, int8_t* out) {
  using namespace ops::affine;
  constexpr int kWidth = low_width(Bits), kMask = (1 << kWidth) - 1;
  for (int64_t p = begin; p < begin + count; p += 4, out += 4) {
    const Field field = field_of(p, kWidth), top = field_of(p, 1);
    for (int j = 0; j < 4; ++j) {
      int code = low[field.byte + j] >> field.shift & kMask;
      if constexpr (Bits == 3) code |= (high[top.byte + j] >> top.shift & 1) << 2;
      out[j] = static_cast<int8_t>(code - zero);
    }
  }
}

}  // namespace fewbit::cpu
