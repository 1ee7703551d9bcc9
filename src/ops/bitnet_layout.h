// The order in which fewbit keeps ternary weights in memory, shared by the ops on BitNet weights.
//
// The code of a weight is its value plus one: 0, 1 or 2; 3 never occurs. A row is a run of
// little-endian 32-bit words of 16 neighbouring input columns each. Column i of a word lies at bit
// (i % 4) * 8 + (i / 4) * 2, so that (word >> 2 * j) & 0x03030303 is columns 4j .. 4j + 3 as four
// bytes, ready for an int8 dot product. Rows are padded to a multiple of 64 columns (16 bytes) with
// the code of zero. Since the codes are unsigned,
//   sum_k weight[k] * q[k] = sum_k code[k] * q[k] - sum_k q[k].
#pragma once

#include <cstdint>

namespace fewbit::ops::bitnet {

constexpr int64_t kAlignment = 64;

constexpr int64_t padded(int64_t columns) {
  return (columns + kAlignment - 1) / kAlignment * kAlignment;
}

// Bytes of a weight row.
constexpr int64_t row_bytes(int64_t columns) { return padded(columns) / 4; }

// How far left a code lies in its word; index counts columns from the word's first.
constexpr int field_shift(int index) { return index % 4 * 8 + index / 4 * 2; }

// A word of codes that all stand for zero.
constexpr uint32_t kZeroWord = 0x55555555u;

// Smallest scale of weights (gamma) and smallest largest magnitude of a row of activations.
constexpr float kSmallest = 1e-5f;

}  // namespace fewbit::ops::bitnet
