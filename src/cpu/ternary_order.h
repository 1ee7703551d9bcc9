// The order in which the CPU's products of ternary weights read activations. Shifting the four
// words of a 16-byte vector of packed weights by 0, 2, 4 and 6 bits gives four registers of codes
// (ops/bitnet_layout.h); activations are brought into the same order once, instead of every weight.
#pragma once

#include <cstdint>
#include <cstring>

#include "../ops/bitnet_layout.h"

namespace fewbit::cpu {

// The column whose activation stands at a position: within 64 columns, fours of them are a 4 x 4
// matrix that is transposed.
constexpr int64_t ternary_column(int64_t position) {
  const int64_t four = position % 64 / 4;
  return position / 64 * 64 + (four % 4 * 4 + four / 4) * 4 + position % 4;
}

// Copies a row of codes, a multiple of 64 of them, into that order.
inline void to_ternary_order(const int8_t* x, int64_t k, int8_t* out) {
  for (int64_t p = 0; p < k; p += 4) std::memcpy(out + p, x + ternary_column(p), 4);
}

}  // namespace fewbit::cpu
