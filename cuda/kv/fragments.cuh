// Fragments of codes for products of 16-bit elements (m16n8k16). A code needs no arithmetic to become
// an fp16 number: in the low bits of an otherwise empty half, u is the subnormal u * 2^-24, and four
// bits further up it is u * 2^-20. Tensor cores take subnormals as they are, the products are exact,
// and the powers of two go into the other factor or into the result.
//
// Codes are kept in "nibble words": eight codes, one in each nibble of 32 bits, which two shifts and
// masks turn into four pairs of halves. A word of 4-bit codes is one; the planes of 3-bit codes give
// one per selection by a mask (src/ops/kv_codes.h).
#pragma once

#include <cstdint>

#include "../../src/ops/kv_codes.h"

namespace fewbit::cuda::kv {

constexpr float kCodeUnit = 16777216.0f;  // 2^24
constexpr float kUpper = 1.0f / 16;       // what undoes the place of the upper code of a byte

// A row of codes, and how its words are shared out among the lanes of a warp. Width is the dimension
// of a head, rounded up to what the lanes divide evenly: lanes whose words lie past the row's end
// read whatever is there, and nothing that comes of it is used.
template <int Bits, int Dim>
struct RowShape {
  static constexpr int kWidth = Dim <= 64 ? 64 : 128;
  static constexpr int kProducts = kWidth / 16;  // of m16n8k16 to a row of keys or values
  static constexpr int kLowWords = static_cast<int>(ops::kv::low_words(Dim, Bits));
  static constexpr int kRowBytes = static_cast<int>(ops::kv::row_bytes(Dim, Bits));
};

// Both halves' code in place s * 2 of 4 (even) or the one after it (odd), from a nibble word.
template <int Bits>
__device__ __forceinline__ uint32_t even_codes(uint32_t nibbles, int s) {
  return nibbles >> 8 * s & (Bits == 3 ? 0x00070007u : 0x000f000fu);
}
template <int Bits>
__device__ __forceinline__ uint32_t odd_codes(uint32_t nibbles, int s) {
  return nibbles >> 8 * s & (Bits == 3 ? 0x00700070u : 0x00f000f0u);
}

// The even or odd low fields of 3-bit codes with their top bits: `high` has those of the even fields
// in bit 2 of each nibble and those of the odd ones in bit 3.
__device__ __forceinline__ uint32_t join_planes(uint32_t low, uint32_t high, int odd) {
  // One instruction, which the compiler does not find: bits of the mask choose from the low plane.
  constexpr uint32_t kLow = 0x33333333u;
  uint32_t joined;
  asm("lop3.b32 %0, %1, %2, %3, 0xe4;"
      : "=r"(joined)
      : "r"(low >> 2 * odd), "r"(high >> odd), "n"(kLow));
  return joined;
}

// Words from shared memory in one access where the rows' alignment allows it.
template <int Count, int Align>
__device__ __forceinline__ void load_words(uint32_t (&to)[Count], const uint8_t* from) {
  constexpr int kStep = Align % 16 == 0 && Count % 4 == 0  ? 4
                        : Align % 8 == 0 && Count % 2 == 0 ? 2
                                                           : 1;
#pragma unroll
  for (int i = 0; i < Count; i += kStep) {
    if constexpr (kStep == 4) {
      const uint4 words = *reinterpret_cast<const uint4*>(from + 4 * i);
      to[i] = words.x, to[i + 1] = words.y, to[i + 2] = words.z, to[i + 3] = words.w;
    } else if constexpr (kStep == 2) {
      const uint2 words = *reinterpret_cast<const uint2*>(from + 4 * i);
      to[i] = words.x, to[i + 1] = words.y;
    } else {
      to[i] = *reinterpret_cast<const uint32_t*>(from + 4 * i);
    }
  }
}

// A key's codes in the lane `member` of four: operand A, whose rows are keys.
template <int Bits, int Dim>
struct KeyCodes {
  using Shape = RowShape<Bits, Dim>;
  static constexpr int kWords = Bits == 8 ? Shape::kWidth / 16 : Shape::kWidth / 32;
  uint32_t words[kWords];

  __device__ __forceinline__ void load(const uint8_t* row, int member) {
    constexpr int kAlign = Shape::kRowBytes;
    if constexpr (Bits == 8) {
      // Four words of each 64 elements: neighbouring lanes read neighbouring 16 bytes.
#pragma unroll
      for (int i = 0; i < kWords; i += 4) {
        uint32_t part[4];
        load_words<4, kAlign>(part, row + 16 * i + 16 * member);
#pragma unroll
        for (int j = 0; j < 4; ++j) words[i + j] = part[j];
      }
    } else if constexpr (Bits == 4) {
      load_words<kWords, kAlign>(words, row + 4 * kWords * member);
    } else {
      constexpr int kLow = kWords / 2;
      uint32_t low[kLow];
      load_words<kLow, kAlign>(low, row + 4 * kLow * member);
      const int first = kLow * member;  // of the low words
      const auto* highs = reinterpret_cast<const uint32_t*>(row) + Shape::kLowWords;
      const uint32_t high = highs[first / 2];
#pragma unroll
      for (int i = 0; i < kWords; ++i) {
        words[i] = join_planes(low[i / 2], high << (2 - (first + i / 2) % 2 * 2), i % 2);
      }
    }
  }

  // Registers of product i: elements 2 * member + {0, 1}, and those 8 further on.
  __device__ __forceinline__ uint32_t first(int i) const {
    if constexpr (Bits == 8) return __byte_perm(words[i], 0, 0x4140);
    return even_codes<Bits>(words[i / 2], i % 2);
  }
  __device__ __forceinline__ uint32_t second(int i) const {
    if constexpr (Bits == 8) return __byte_perm(words[i], 0, 0x4342);
    return odd_codes<Bits>(words[i / 2], i % 2);
  }

  // Which element of the head is in half `half` of the first or second register of product i.
  static __device__ __forceinline__ int element(int member, int i, int second, int half) {
    if constexpr (Bits == 8) {
      return 64 * (i / 4) + 16 * member + 4 * (i % 4) + 2 * second + half;
    } else if constexpr (Bits == 4) {
      return 8 * (kWords * member + i / 2) + i % 2 + 2 * half + 4 * second;
    } else {
      const int byte = i % 2 + 2 * half, word = i / 2;
      return 16 * (kWords / 2 * member + word / 2) + byte + 4 * (2 * second + word % 2);
    }
  }
};

// A value's codes in the lanes of group `group` of eight.
template <int Bits, int Dim>
struct ValueCodes {
  using Shape = RowShape<Bits, Dim>;
  static constexpr int kWords = Bits == 8   ? Shape::kWidth / 32
                                : Bits == 4 ? Shape::kWidth / 64
                                            : 2;                        // low and high
  static constexpr bool kHalfWords = Bits == 3 && Shape::kWidth == 64;  // two lanes to a word
  uint32_t words[kWords];

  __device__ __forceinline__ void load(const uint8_t* row, int group) {
    if constexpr (Bits == 3) {
      const int word = kHalfWords ? group / 2 : group;
      const auto* from = reinterpret_cast<const uint32_t*>(row);
      words[0] = from[word];
      words[1] = from[Shape::kLowWords + word / 2];
    } else {
      load_words<kWords, Shape::kRowBytes>(words, row + 4 * kWords * group);
    }
  }
};

// Codes of two keys, one in each half: operand A, whose rows are elements of the head.
template <int Bits, int Dim>
struct ValuePairs {
  using Codes = ValueCodes<Bits, Dim>;
  static constexpr int kProducts = Codes::Shape::kProducts;
  static constexpr int kWords = Bits == 8 ? kProducts : kProducts / 2;
  uint32_t words[kWords];  // nibble words, or two codes in each half

  ValuePairs() = default;
  __device__ __forceinline__ ValuePairs(const Codes& a, const Codes& b, int group) {
    constexpr uint32_t kFirst = 0x5410, kSecond = 0x7632;
    if constexpr (Bits != 3) {
#pragma unroll
      for (int i = 0; i < kWords; ++i) {
        words[i] = __byte_perm(a.words[i / 2], b.words[i / 2], i % 2 ? kSecond : kFirst);
      }
    } else {
      // The top bits of the even fields go to bit 2 of their nibbles.
      const int shift = 2 - (Codes::kHalfWords ? group / 2 : group) % 2 * 2;
#pragma unroll
      for (int i = 0; i < kWords; i += 2) {
        const uint32_t half = (Codes::kHalfWords ? group % 2 : i / 2) ? kSecond : kFirst;
        const uint32_t low = __byte_perm(a.words[0], b.words[0], half);
        const uint32_t high = __byte_perm(a.words[1], b.words[1], half) << shift;
        words[i] = join_planes(low, high, 0);
        words[i + 1] = join_planes(low, high, 1);
      }
    }
  }

  // Registers of product i: rows group and group + 8.
  __device__ __forceinline__ uint32_t first(int i) const {
    if constexpr (Bits == 8) return words[i] & 0x00ff00ffu;
    return even_codes<Bits>(words[i / 2], i % 2);
  }
  __device__ __forceinline__ uint32_t second(int i) const {
    if constexpr (Bits == 8) return __byte_perm(words[i], 0, 0x4341);
    return odd_codes<Bits>(words[i / 2], i % 2);
  }

  // Which element of the head is row group (or, if second, group + 8) of product i.
  static __device__ __forceinline__ int element(int group, int i, int second) {
    if constexpr (Bits == 8) {
      return 4 * (Codes::kWords * group + i / 2) + 2 * (i % 2) + second;
    } else {
      const int word = i / 2;  // nibble word
      if constexpr (Bits == 4) {
        const int byte = 2 * (word % 2) + i % 2;
        return 8 * (Codes::kWords * group + word / 2) + byte + 4 * second;
      } else {
        const int low = Codes::kHalfWords ? group / 2 : group;
        const int half = Codes::kHalfWords ? group % 2 : word / 2;
        return 16 * low + 2 * half + i % 2 + 4 * (2 * second + word % 2);
      }
    }
  }
};

}  // namespace fewbit::cuda::kv
