// Few-bit codes to operands of tensor cores, in the order of positions: code - zero, exactly.
#pragma once

#include "nibbles.cuh"

namespace fewbit::cuda::gptq {

// Turns codes into pairs of code - zero for one zero point. Pair i is positions 2i and 2i + 1.
template <class T, int Bits>
class Unpacker {
 public:
  __device__ __forceinline__ explicit Unpacker(uint32_t zero) {
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
      offset_[slot] = power<T>(Magic<T>::kMantissa - slot * kWidth) + twice(Magic<T>::kSign) +
                      (twice(1) * zero << (slot * kWidth));
    }
  }

  __device__ __forceinline__ void operator()(const Chunk<Bits>& chunk,
                                             uint32_t (&pairs)[kPairs]) const {
    constexpr int kWords = kPairs / kPerWord;
    uint32_t words[kWords];
    if constexpr (Bits == 3) {
      nibble_words(chunk, words);
    } else {
#pragma unroll
      for (int i = 0; i < kWords; ++i) words[i] = chunk.words[i];
    }
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
#pragma unroll
      for (int field = 0; field < kPerWord; ++field) {
        const int pair = Bits == 3 ? (nibble_position<Bits>(i) + field * kNibbleStep<Bits>) / 2
                                   : i * kPerWord + field;
        pairs[pair] = one(words[i], field);
      }
    }
  }

 private:
  static constexpr int kWidth = Bits == 2 ? 2 : 4;  // of fields, once planes are together
  static constexpr int kPerWord = 16 / kWidth;      // pairs
  // Fields that fit into the mantissa, so that one shift serves all of them.
  static constexpr int kSlots = Magic<T>::kMantissa == 10 ? 8 / kWidth : Bits == 4 ? 1 : 2;

  __device__ __forceinline__ uint32_t one(uint32_t word, int field) const {
    const int slot = field % kSlots;
    constexpr uint32_t kMask = twice((1u << Bits) - 1), kBase = power<T>(Magic<T>::kMantissa);
    const uint32_t value =
        masked_or(word >> ((field - slot) * kWidth), kMask << (slot * kWidth), kBase);
    return multiply_add(value, power<T>(-slot * kWidth), offset_[slot], T{});
  }

  uint32_t offset_[kSlots];
};

// A byte is too wide for a mantissa of 7 bits, so bf16 goes by way of f32.
template <>
class Unpacker<__half, 8> {
 public:
  __device__ __forceinline__ explicit Unpacker(uint32_t zero)
      : offset_(0xe400e400u + twice(1) * zero) {}

  __device__ __forceinline__ void operator()(const Chunk<8>& chunk,
                                             uint32_t (&pairs)[kPairs]) const {
#pragma unroll
    for (int pair = 0; pair < kPairs; ++pair) {
      const uint32_t value =
          __byte_perm(chunk.words[pair / 2], 0x64646464u, pair % 2 ? 0x4341 : 0x4240);
      pairs[pair] = multiply_add(value, power<__half>(0), offset_, __half{});
    }
  }

 private:
  uint32_t offset_;
};

template <>
class Unpacker<__nv_bfloat16, 8> {
 public:
  __device__ __forceinline__ explicit Unpacker(uint32_t zero)
      : offset_(8388608.0f + static_cast<float>(zero)) {}

  __device__ __forceinline__ void operator()(const Chunk<8>& chunk,
                                             uint32_t (&pairs)[kPairs]) const {
#pragma unroll
    for (int pair = 0; pair < kPairs; ++pair) {
      const uint32_t word = chunk.words[pair / 2];
      const float even = __uint_as_float(__byte_perm(word, 0x4b000000u, 0x7650 + pair % 2));
      const float odd = __uint_as_float(__byte_perm(word, 0x4b000000u, 0x7652 + pair % 2));
      const __nv_bfloat162 both = __floats2bfloat162_rn(even - offset_, odd - offset_);
      pairs[pair] = reinterpret_cast<const uint32_t&>(both);
    }
  }

 private:
  float offset_;
};

}  // namespace fewbit::cuda::gptq
