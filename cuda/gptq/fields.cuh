// Few-bit codes to tensor-core operands at one instruction for a pair, where sums are corrected later.
//
// In f16 a field in the mantissa of a number without exponent is the code itself times a power of two,
// as small as 2^-24, which tensor cores multiply exactly. Fields that lie higher in the mantissa count
// more, so they add up in a sum of their own. In bf16, whose smallest numbers lie at the end of what
// f32 can hold, a field under the exponent of 128 is 128 more than its code.
#pragma once

#include "../common/mma.cuh"
#include "nibbles.cuh"

namespace fewbit::cuda::gptq {

// Products of a chunk of two rows of a weight, 8 apart, with BatchTiles times 8 rows of x.
template <class T, int Bits, int BatchTiles = 1>
class FieldProduct {
  static_assert(Bits <= 4, "wider codes have other kernels");

  static constexpr bool kTiny = Magic<T>::kMantissa == 10;
  static constexpr int kStride = Bits == 3 ? 4 : Bits;  // of fields, once planes are together

 public:
  // What is added to every code.
  static constexpr float kOffset = Magic<T>::kMantissa == 10 ? 0 : 128;
  // What sums are multiples of.
  static constexpr float kUnit =
      Magic<T>::kMantissa == 10 ? 1 << (24 - (8 / kStride - 1) * kStride) : 1;

  // x comes as the products take it: pair `pair` of a chunk is word place(pair).
  static constexpr __host__ __device__ int place(int pair) {
    constexpr int kHalf = 8 / kStride, kSteps = Bits == 3 ? 2 : 1, kWord = 2 * kHalf * kSteps;
    const int word = pair / kWord, step = pair % kSteps, field = pair % kWord / kSteps;
    return word * kWord + step * 2 * kHalf + field % kHalf * 2 + field / kHalf;
  }

  __device__ __forceinline__ void add(const Chunk<Bits>& upper, const Chunk<Bits>& lower,
                                      const uint32_t (&x)[BatchTiles][kPairs]) {
    if constexpr (Bits == 3) {
      uint32_t a[kNibbleWords], b[kNibbleWords];
      nibble_words(upper, a);
      nibble_words(lower, b);
#pragma unroll
      for (int i = 0; i < kNibbleWords; ++i) add_word(a[i], b[i], x, 4 * i);
    } else {
#pragma unroll
      for (int i = 0; i < kWords; ++i) {
        add_word(upper.words[i], lower.words[i], x, 16 / Bits * i);
      }
    }
  }

  // The sums of x over the chunks of all threads of a row of x, in units, as sums of codes are laid out.
  __device__ __forceinline__ static void sum_up(const uint32_t (&x)[BatchTiles][kPairs],
                                                float (&sums)[BatchTiles][4]) {
    // One unit is a power of two in T, if only as one of its smallest numbers.
    constexpr uint32_t kOne =
        kTiny ? twice((1u << 24) / static_cast<uint32_t>(kUnit)) : power<T>(0);
#pragma unroll
    for (int i = 0; i < kPairs; i += 2) {
#pragma unroll
      for (int tile = 0; tile < BatchTiles; ++tile) {
        Mma<T>::multiply(sums[tile], kOne, kOne, kOne, kOne, x[tile][i], x[tile][i + 1]);
      }
    }
  }

  // In units. As Mma has it: 0 and 1 for the upper row, 2 and 3 for the lower.
  __device__ __forceinline__ float sum(int tile, int i) const {
    float total = sums_[tile][0][i];
#pragma unroll
    for (int s = 1; s < kSums; ++s) total = fmaf(total, 1 << kStride, sums_[tile][s][i]);
    return total;
  }

 private:
  static constexpr int kWords = plane_width(Bits);
  static constexpr int kSums = kTiny ? 8 / kStride : 1;

  __device__ __forceinline__ static uint32_t operand(uint32_t word, uint32_t mask) {
    return kTiny ? word & mask : masked_or(word, mask, power<T>(Magic<T>::kMantissa));
  }

  // Field i of both halves of a word.
  __device__ __forceinline__ static uint32_t field(uint32_t word, int i) {
    const int shift = kTiny ? i * kStride / 8 * 8 : i * kStride;
    return operand(word >> shift, twice((1u << Bits) - 1) << (i * kStride - shift));
  }

  // Two words of fields, and words first, first + 1, ... of x.
  __device__ __forceinline__ void add_word(uint32_t upper, uint32_t lower,
                                           const uint32_t (&x)[BatchTiles][kPairs], int first) {
    constexpr int kHalf = 8 / kStride;  // fields 8 bits apart count alike
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      const uint32_t a0 = field(upper, i), a1 = field(lower, i), a2 = field(upper, i + kHalf),
                     a3 = field(lower, i + kHalf);
#pragma unroll
      for (int tile = 0; tile < BatchTiles; ++tile) {
        Mma<T>::multiply(sums_[tile][i % kSums], a0, a1, a2, a3, x[tile][first + 2 * i],
                         x[tile][first + 2 * i + 1]);
      }
    }
  }

  float sums_[BatchTiles][kSums][4] = {};
};

}  // namespace fewbit::cuda::gptq
