// A row x as integers for the tensor cores: of each piece fixed-point numbers with a unit of their own, in
// three limbs of a byte. Limbs are columns of the mma, of which a single row of f16 would use but one.
//
// Codes are then bytes of the other operand: one instruction takes four of them out of a word, rather than
// two, and half as many products are needed. Numbers have 21 bits and a sign, counted from the largest of
// the piece: what f32 sums of the products would keep. All sums up to the scale are exact.
#pragma once

#include "../common/mma.cuh"
#include "../common/reduce.cuh"
#include "nibbles.cuh"

namespace fewbit::cuda::gptq {

constexpr int kLimbs = 3;
// Of two pieces, as the products of a warp take them: [half of the nibble words][piece][limb][part][4].
constexpr int kHalfLimbWords = 2 * kLimbs * 16;
constexpr int kLimbWords = 2 * kHalfLimbWords;

// Which words of a half a lane takes. The fourth column of a piece, which counts nothing, has the third's.
__device__ __forceinline__ int limb_words(int lane) {
  const int column = lane / 4;
  return (column / 4 * kLimbs + min(column % 4, kLimbs - 1)) * 16 + lane % 4 * 4;
}

// Of a lane's columns, 2 * part and the next: the first piece's for part 0 and 1, else the second's.
struct LimbColumns {
  int sum;     // of the limbs
  float unit;  // in which 16 times codes times limbs are counted
};

// What the second of a lane's columns counts: nothing in the fourth of a piece.
__device__ __forceinline__ int limb_weight(int part) { return part % 2 ? 0 : 256; }
__device__ __forceinline__ int both_columns(int first, int second, int weight) {
  return second * weight + first;
}

// Sums of codes times limbs of one piece, for two rows of a weight 8 apart.
class LimbProduct {
 public:
  template <int Bits>
  __device__ __forceinline__ void add(const Chunk<Bits>& upper, const Chunk<Bits>& lower,
                                      const uint32_t (&x)[8]) {
    uint32_t a[kNibbleWords], b[kNibbleWords];
    nibble_words(upper, a);
    nibble_words(lower, b);
#pragma unroll
    for (int i = 0; i < kNibbleWords; i += 2) {
#pragma unroll
      for (int field = 0; field < 2; ++field) {
        const uint32_t mask = ((1u << Bits) - 1) * 0x01010101u << (4 * field);
        Mma<uint8_t>::multiply(sums_[field], a[i] & mask, b[i] & mask, a[i + 1] & mask,
                               b[i + 1] & mask, x[2 * i + 2 * field], x[2 * i + 2 * field + 1]);
      }
    }
  }

  // 16 times as much, as Mma has it: 0 and 1 for the upper row, 2 and 3 for the lower.
  __device__ __forceinline__ int sum(int i) const { return sums_[0][i] * 16 + sums_[1][i]; }

 private:
  int sums_[2][4] = {};  // fields four bits further left count 16 times as much
};

// Eight values of x: four neighbours and four whose codes lie eight bits further left (limb_position).
struct LimbValues {
  uint2 near, far;
};

// The largest magnitude of the values of half a warp, as bits of T.
__device__ __forceinline__ uint32_t peak_of(const LimbValues& values) {
  const auto larger = [](uint32_t a, uint32_t b) { return __vmaxs2(a, b); };
  constexpr uint32_t kMagnitude = 0x7fff7fff;
  uint32_t peak = larger(larger(values.near.x & kMagnitude, values.near.y & kMagnitude),
                         larger(values.far.x & kMagnitude, values.far.y & kMagnitude));
#pragma unroll
  for (int offset = 8; offset > 0; offset /= 2) {
    peak = larger(peak, __shfl_xor_sync(kFullWarp, peak, offset));
  }
  return max(peak & 0xffffu, peak >> 16);
}

// Two words of neighbours, near and far, to a word of each limb: of bytes near 0, far 0, near 1, far 1.
template <class T>
__device__ __forceinline__ void limbs_of(uint32_t near, uint32_t far, float scale,
                                         uint32_t (&limbs)[kLimbs]) {
  // In the mantissa, with what makes the lower bytes positive.
  constexpr float kMagic = 12582912.0f + 0x8080;
  const auto number = [&](uint32_t pair, int i) {
    const auto bits = static_cast<uint16_t>(pair >> (16 * i));
    return __float_as_uint(fmaf(to_float(reinterpret_cast<const T&>(bits)), scale, kMagic));
  };
  const uint32_t a = number(near, 0), b = number(far, 0), c = number(near, 1), d = number(far, 1);
  const uint32_t low = __byte_perm(a, b, 0x5140), next = __byte_perm(c, d, 0x5140);
  limbs[0] = __byte_perm(low, next, 0x5410) ^ 0x80808080u;
  limbs[1] = __byte_perm(low, next, 0x7632) ^ 0x80808080u;
  const uint32_t top = __byte_perm(__byte_perm(a, b, 0x0062), __byte_perm(c, d, 0x0062), 0x5410);
  limbs[2] = ((top | 0x80808080u) - 0x40404040u) ^ 0x80808080u;
}

// Writes the limbs of two pieces, of which each half of the warp has one, and returns a sixteenth of the
// unit of each lane's piece: NaN where values are not finite. Writes nothing unless they are kept.
template <class T, int Bits>
__device__ __forceinline__ float put_limbs(const LimbValues& values, int lane, uint32_t* to,
                                           bool is_kept) {
  const uint32_t peak = peak_of(values);
  const auto bits = static_cast<uint16_t>(peak);
  const uint32_t exponent = __float_as_uint(to_float(reinterpret_cast<const T&>(bits))) >> 23;
  const uint32_t kept = max(exponent, 25u);
  const float scale = __uint_as_float((274u - kept) << 23);
  const int part = lane % 16 / 4, unit = lane % 4;
  uint32_t first[kLimbs], second[kLimbs];
  limbs_of<T>(values.near.x, values.far.x, scale, first);
  limbs_of<T>(values.near.y, values.far.y, scale, second);
  to += unit / 2 * kHalfLimbWords + lane / 16 * kLimbs * 16 + part * 4;
#pragma unroll
  for (int limb = 0; limb < kLimbs; ++limb) {
    if (!is_kept) break;
    if constexpr (Bits == 4) {
      to[limb * 16 + unit % 2] = first[limb];
      to[limb * 16 + unit % 2 + 2] = second[limb];
    } else {
      *reinterpret_cast<uint2*>(to + limb * 16 + unit % 2 * 2) = uint2{first[limb], second[limb]};
    }
  }
  return exponent == 255 ? __uint_as_float(0x7fffffffu) : __uint_as_float((kept - 24u) << 23);
}

// Where a lane's values begin in a piece, and how many further on the others.
template <int Bits>
constexpr int kFarValues = 2 * kNibbleStep<Bits>;
template <int Bits>
__device__ __forceinline__ int limb_position(int lane) {
  const int part = lane % 16 / 4, unit = lane % 4;
  return part * kChunk + (Bits == 4 ? unit * 8 : unit / 2 * 16 + unit % 2 * 4);
}

__device__ __forceinline__ void load_limbs(uint32_t address, uint32_t (&x)[8]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint4 four = load_shared_four(address + i * kHalfLimbWords * 4);
    x[4 * i] = four.x;
    x[4 * i + 1] = four.y;
    x[4 * i + 2] = four.z;
    x[4 * i + 3] = four.w;
  }
}

__device__ __forceinline__ LimbColumns load_limb_columns(uint32_t address) {
  const uint2 two = load_shared_two(address);
  return {static_cast<int>(two.x), __uint_as_float(two.y)};
}

// The sums of all limbs of a lane's columns, of the pieces at two addresses.
__device__ __forceinline__ void sum_limbs(uint32_t first, uint32_t second, int weight,
                                          int (&to)[2]) {
  constexpr uint32_t kOnes = 0x01010101;
  uint32_t x[2][8];
  load_limbs(first, x[0]);
  load_limbs(second, x[1]);
  int sums[2][2][4] = {};
#pragma unroll
  for (int i = 0; i < 8; i += 2) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      Mma<uint8_t>::multiply(sums[j][i / 4], kOnes, kOnes, kOnes, kOnes, x[j][i], x[j][i + 1]);
    }
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    to[j] = both_columns(sums[j][0][0] + sums[j][1][0], sums[j][0][1] + sums[j][1][1], weight);
  }
}

}  // namespace fewbit::cuda::gptq
