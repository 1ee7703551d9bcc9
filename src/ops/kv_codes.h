// How keys and values of few bits lie in the paged cache, shared by the ops that write and read it.
//
// The codes u (unsigned, 0 .. 2^bits - 1) of one head of one token are a row of little-endian
// 32-bit words, made so that a shift and a mask turn a word into four neighbouring codes, one in
// each byte:
//   8 bits: 4 codes a word, code i in byte i
//   4 bits: 8 codes a word, byte j = u[j] | u[j + 4] << 4
//   3 bits: a plane of the low two bits, 16 codes a word, code i at bit (i % 4) * 8 + i / 4 * 2,
//           then a plane of the top bits, 32 codes a word, code i at bit
//           (i % 4) * 8 + i / 8 % 2 * 4 + i / 16 * 2 + i / 4 % 2: in the nibble that has the code's
//           low bits in the other plane, so that one selection by a mask joins eight of them
// A last word that is not full has zeros.
//
// What a code stands for, either
//   static, by channel (arXiv 2304.01089): x = scale[c] * (u - zero[c]), where
//     u = clamp(round_half_even(x / scale[c]) + zero[c]); a grid is f32[2, Hkv * D], the scales and
//     below them the zero points, which are whole numbers but need not be codes; or
//   dynamic, by token and head: x = scale * u + min, where scale = (max - min) / (2^bits - 1) and
//     min are rounded to fp16 and u = clamp(round_half_even((x - min) / scale)), 0 if scale is 0;
//     scales are f16[pages, Hkv, page_size, 2].
#pragma once

#include <cstdint>

namespace fewbit::ops::kv {

constexpr bool is_width(int bits) { return bits == 3 || bits == 4 || bits == 8; }

constexpr int largest_code(int bits) { return (1 << bits) - 1; }

constexpr int64_t words(int64_t dim, int codes_per_word) {
  return (dim + codes_per_word - 1) / codes_per_word;
}

// Where code i of a plane of `width`-bit fields lies in its word.
constexpr int field_shift(int64_t i, int width) {
  const int within = static_cast<int>(i % (32 / width));
  return within % 4 * 8 + within / 4 * width;
}

// The same of a top bit of 3.
constexpr int high_shift(int64_t i) {
  const int within = static_cast<int>(i % 32);
  return within % 4 * 8 + within / 8 % 2 * 4 + within / 16 * 2 + within / 4 % 2;
}

// Words of the first plane, or of the only one.
constexpr int64_t low_words(int64_t dim, int bits) {
  return bits == 3 ? words(dim, 16) : words(dim, 32 / bits);
}

// Bytes of one head of one token.
constexpr int64_t row_bytes(int64_t dim, int bits) {
  return 4 * (low_words(dim, bits) + (bits == 3 ? words(dim, 32) : 0));
}

}  // namespace fewbit::ops::kv
