// Static affine codes (RPTQ, arXiv 2304.01089), shared by the ops that make and multiply them.
//
// Activations of 8 or 4 bits: column k has a grid that does not depend on the input, of a scale s[k]
// and a whole zero point z[k], which need not be a code.
//   q = clamp(round_half_even(x / s[k]) + z[k], -2^(bits - 1), 2^(bits - 1) - 1)
// in fp32, with a true division; a NaN gets the code 0. A grid is f32[2, K], the scales and below
// them the zero points. Codes of 8 bits are i8[T, K]; of 4 bits u8[T, K / 2], in two's complement,
// column 2 i in the low half of byte i and column 2 i + 1 in the high one.
//
// Weights of 8, 4 or 3 bits: a row is a plane of blocks of 16 bytes, made so that a shift and a mask
// turn 16 bytes into 16 neighbouring codes. A plane of `width`-bit fields has 128 / width positions
// in a block; byte j holds positions j, 16 + j, 32 + j, ..., from its lowest bits up.
//   8 bits: the code minus 128, as int8
//   4 bits: the code
//   3 bits: a plane of the low two bits and one of the top bit
// A last block that is not full has zeros.
#pragma once

#include <cstdint>

namespace fewbit::ops::affine {

constexpr int64_t kRun = 16;        // positions that share a shift
constexpr int64_t kAlignment = 32;  // what rows of codes and groups are multiples of

constexpr bool is_activation_width(int bits) { return bits == 8 || bits == 4; }

constexpr int largest_code(int bits) { return (1 << (bits - 1)) - 1; }

// Bytes of a row of activations.
constexpr int64_t row_bytes(int64_t columns, int bits) { return columns * bits / 8; }

constexpr bool is_weight_width(int bits) { return bits == 8 || bits == 4 || bits == 3; }

// Width of the fields in the first plane; what remains of 3 bits is in the second.
constexpr int low_width(int bits) { return bits == 3 ? 2 : bits; }

constexpr int64_t block_positions(int width) { return 128 / width; }

// Bytes of a row of a plane.
constexpr int64_t plane_bytes(int64_t positions, int width) {
  const int64_t block = block_positions(width);
  return (positions + block - 1) / block * 16;
}

// The first byte of the run that begins at a position, and how far left its fields lie.
constexpr int64_t run_offset(int64_t position, int width) {
  return position / block_positions(width) * 16;
}
constexpr int run_shift(int64_t position, int width) {
  return static_cast<int>(position % block_positions(width) / kRun) * width;
}

}  // namespace fewbit::ops::affine
