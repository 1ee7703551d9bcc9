// The order in which fewbit keeps few-bit codes in memory, shared by the ops on GPTQ weights.
//
// A weight row is a run of positions: input columns, sorted by group where the checkpoint orders
// columns by activation (act-order), so that position p always belongs to group p / group_size.
// Rows are padded with zero codes to a multiple of 32 positions.
//
// Codes of 2, 4 and 8 bits are one plane of fields of that width. Codes of 3 bits are two planes,
// the low 2 bits in `codes` and the top bit in `high`, so that no field straddles two words.
// A plane is a row of little-endian 32-bit words. A word holds 32 / width neighbouring positions:
// the even ones in its low half, the odd ones in its high half, each half from the lowest bit up.
// One shift and one mask then give two neighbours along K, one in each half of a register.
//
// Top bits lie in another order within the halves: shifted left or right by at most 2, four of them
// come to lie above every other field of a word of low bits, where they make codes without being
// moved one by one (cuda/gptq/fields.cuh).
#pragma once

#include <cstdint>

namespace fewbit::ops::gptq {

constexpr int64_t kAlignment = 32;

constexpr int64_t padded(int64_t positions) {
  return (positions + kAlignment - 1) / kAlignment * kAlignment;
}

constexpr bool is_width(int bits) { return bits == 2 || bits == 3 || bits == 4 || bits == 8; }

// Width of the fields in `codes`; what remains of 3 bits is in `high`.
constexpr int low_width(int bits) { return bits == 3 ? 2 : bits; }

// Bytes of a row in a plane of fields of some width.
constexpr int64_t plane_bytes(int64_t positions, int width) {
  return padded(positions) * width / 8;
}

// Where the top bit of each pair of neighbouring positions lies in a half, of 16 pairs.
constexpr int high_bit(int pair) {
  const int in_four = pair < 8 ? 2 + pair % 2 : 1 - pair % 2;
  return pair % 8 / 2 * 4 + in_four;
}

// How far left a field lies in its word; index counts positions from the word's first.
constexpr int field_shift(int index, int width) {
  const int pair = index >> 1;
  return (index & 1) * 16 + (width == 1 ? high_bit(pair) : pair * width);
}

constexpr int64_t group_count(int64_t positions, int64_t group_size) {
  return (positions + group_size - 1) / group_size;
}

}  // namespace fewbit::ops::gptq
