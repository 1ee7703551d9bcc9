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

// Weights of positions begin .. begin + count of a row, both multiples of 16, less the zero point.
// `low` and `high` are the row's planes.
template <int Bits>
inline void unpack_weights(const uint8_t* low, const uint8_t* high, int64_t begin, int64_t count,
                           int zero, int8_t* out) {
  using namespace ops::affine;
  constexpr int kWidth = low_width(Bits);
  for (int64_t p = begin; p < begin + count; p += kRun, out += kRun) {
    const uint8_t* bytes = low + run_offset(p, kWidth);
    const int shift = run_shift(p, kWidth);
    if constexpr (Bits == 3) {
      const uint8_t* tops = high + run_offset(p, 1);
      const int top_shift = run_shift(p, 1);
      for (int j = 0; j < kRun; ++j) {
        const int code = (bytes[j] >> shift & 3) | (tops[j] >> top_shift & 1) << 2;
        out[j] = static_cast<int8_t>(code - zero);
      }
    } else {
      for (int j = 0; j < kRun; ++j) out[j] = static_cast<int8_t>((bytes[j] >> shift & 15) - zero);
    }
  }
}

}  // namespace fewbit::cpu
