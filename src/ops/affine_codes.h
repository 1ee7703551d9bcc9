// Static affine codes (RPTQ, arXiv 2304.01089), shared by the ops that make and multiply them.
//
// Activations of 8 or 4 bits: column k has a grid that does not depend on the input, of a scale s[k]
// and a whole zero point z[k], which need not be a code.
//   q = clamp(round_half_even(x / s[k]) + z[k], -2^(bits - 1), 2^(bits - 1) - 1)
// in fp32, with a true division; a NaN gets the code 0. A grid is f32[2, K], the scales and below
// them the zero points. Codes of 8 bits are i8[T, K]; of 4 bits u8[T, K / 2], in two's complement,
// column 2 i in the low half of byte i and column 2 i + 1 in the high one.
//
// Weights of 8, 4 or 3 bits: a row is one or two planes of fields,
//   8 bits: the code minus 128, as int8
//   4 bits: the code
//   3 bits: a plane of the low two bits and one of the top bit
// in chunks of 128 positions, made so that a shift and a mask turn a word into four neighbouring
// codes, one in each byte, and that what a lane of a tensor-core product holds of a chunk lies
// together. With p = 32 i + 16 h + 4 t + j a position of a chunk (i < 4, h < 2, t < 4, j < 4), its
// field is number 2 i + h of byte j of part t: a part has as many words as a field has bits, and
// fields fill a byte from its lowest bit up before the next word begins. A last chunk that is not
// full has zeros.
#pragma once

#include <cstdint>

namespace fewbit::ops::affine {

constexpr int64_t kAlignment = 32;  // what rows of codes and groups are multiples of

constexpr bool is_activation_width(int bits) { return bits == 8 || bits == 4; }

constexpr int largest_code(int bits) { return (1 << (bits - 1)) - 1; }

// Bytes of a row of activations.
constexpr int64_t row_bytes(int64_t columns, int bits) { return columns * bits / 8; }

constexpr bool is_weight_width(int bits) { return bits == 8 || bits == 4 || bits == 3; }

// Width of the fields in the first plane; what remains of 3 bits is in the second.
constexpr int low_width(int bits) { return bits == 3 ? 2 : bits; }

constexpr int64_t kChunk = 128;  // positions

// Bytes of a row of a plane.
constexpr int64_t plane_bytes(int64_t positions, int width) {
  return (positions + kChunk - 1) / kChunk * (kChunk / 8) * width;
}

// Where the field of a position is: its byte in a row of a plane, and how far left it lies there.
struct Field {
  int64_t byte;
  int shift;
};
constexpr Field field_of(int64_t position, int width) {
  const int64_t chunk = position / kChunk, in_chunk = position % kChunk;
  const int64_t number = in_chunk / 16, part = in_chunk / 4 % 4;
  const int64_t bit = number * width;
  return {chunk * (kChunk / 8) * width + part * 4 * width + bit / 8 * 4 + in_chunk % 4,
          static_cast<int>(bit % 8)};
}

}  // namespace fewbit::ops::affine
