// Few-bit codes in registers: 32 neighbouring positions of a weight row, and what it takes to turn them into
// numbers.
//
// A field ORed into the mantissa of a power of two is a number without any conversion: in f16
// 0x6400 | q is 1024 + q, and with the field i bits further left 1024 + 2^i q. One fused
// multiply-add then gives q - zero, exactly: all its inputs and its result are small integers over a
// power of two. In bf16 0x4300 is 128, and 7 bits of mantissa hold fewer fields.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "../common/convert.cuh"
#include "linear_gptq.h"

namespace fewbit::cuda::gptq {

constexpr int kChunk = 32;  // positions
constexpr int kPairs = kChunk / 2;

constexpr __host__ __device__ int plane_width(int bits) { return bits == 3 ? 2 : bits; }

// 32 positions of one row; zeros past the row's end.
template <int Bits>
struct Chunk {
  static constexpr int kWords = plane_width(Bits);
  uint32_t words[kWords];
  uint32_t high = 0;
};

template <class T>
struct Magic;

template <>
struct Magic<__half> {
  static constexpr uint32_t kSign = 0x8000, kOne = 0x3c00;
  static constexpr int kMantissa = 10;
};

template <>
struct Magic<__nv_bfloat16> {
  static constexpr uint32_t kSign = 0x8000, kOne = 0x3f80;
  static constexpr int kMantissa = 7;
};

constexpr __host__ __device__ uint32_t twice(uint32_t half) { return half | half << 16; }

// The bits of a pair of 2^exponent.
template <class T>
constexpr __host__ __device__ uint32_t power(int exponent) {
  return twice(Magic<T>::kOne + (static_cast<uint32_t>(exponent) << Magic<T>::kMantissa));
}

__device__ __forceinline__ uint32_t multiply_add(uint32_t a, uint32_t b, uint32_t c, __half) {
  const __half2 r =
      __hfma2(reinterpret_cast<const __half2&>(a), reinterpret_cast<const __half2&>(b),
              reinterpret_cast<const __half2&>(c));
  return reinterpret_cast<const uint32_t&>(r);
}
__device__ __forceinline__ uint32_t multiply_add(uint32_t a, uint32_t b, uint32_t c,
                                                 __nv_bfloat16) {
  const __nv_bfloat162 r = __hfma2(reinterpret_cast<const __nv_bfloat162&>(a),
                                   reinterpret_cast<const __nv_bfloat162&>(b),
                                   reinterpret_cast<const __nv_bfloat162&>(c));
  return reinterpret_cast<const uint32_t&>(r);
}
__device__ __forceinline__ uint32_t multiply(uint32_t a, uint32_t b, __half) {
  const __half2 r =
      __hmul2(reinterpret_cast<const __half2&>(a), reinterpret_cast<const __half2&>(b));
  return reinterpret_cast<const uint32_t&>(r);
}
__device__ __forceinline__ uint32_t multiply(uint32_t a, uint32_t b, __nv_bfloat16) {
  const __nv_bfloat162 r = __hmul2(reinterpret_cast<const __nv_bfloat162&>(a),
                                   reinterpret_cast<const __nv_bfloat162&>(b));
  return reinterpret_cast<const uint32_t&>(r);
}

// (word & mask) | base in one instruction, which the compiler does not find by itself.
__device__ __forceinline__ uint32_t masked_or(uint32_t word, uint32_t mask, uint32_t base) {
  uint32_t result;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(result) : "r"(word), "r"(mask), "r"(base));
  return result;
}

// Bits of `ones` where the mask has ones, else of `zeros`.
__device__ __forceinline__ uint32_t select_bits(uint32_t mask, uint32_t ones, uint32_t zeros) {
  uint32_t result;
  asm("lop3.b32 %0, %1, %2, %3, 0xca;" : "=r"(result) : "r"(mask), "r"(ones), "r"(zeros));
  return result;
}

// A value of T in both halves.
template <class T>
__device__ __forceinline__ uint32_t pair_of(float value) {
  const T narrow = from_float<T>(value);
  return twice(reinterpret_cast<const uint16_t&>(narrow));
}

// Calls body with the scales by their type, so that it can load several before it uses one.
template <class Body>
__device__ __forceinline__ void with_scales(const Weight& w, Body body) {
  switch (w.scales_dtype) {
    case DType::F16:
      return body(static_cast<const __half*>(w.scales));
    case DType::BF16:
      return body(static_cast<const __nv_bfloat16*>(w.scales));
    default:
      return body(static_cast<const float*>(w.scales));
  }
}

// Loads past L1, in program order, so that all of a batch are under way before the first use.
template <int Words>
__device__ __forceinline__ void load_words(const void* from, uint32_t (&to)[Words]) {
  if constexpr (Words % 4 == 0) {
#pragma unroll
    for (int i = 0; i < Words; i += 4) {
      asm volatile("ld.global.L1::no_allocate.L2::256B.v4.u32 {%0,%1,%2,%3}, [%4];"
                   : "=r"(to[i]), "=r"(to[i + 1]), "=r"(to[i + 2]), "=r"(to[i + 3])
                   : "l"(static_cast<const uint32_t*>(from) + i));
    }
  } else if constexpr (Words == 2) {
    asm volatile("ld.global.L1::no_allocate.L2::256B.v2.u32 {%0,%1}, [%2];"
                 : "=r"(to[0]), "=r"(to[1])
                 : "l"(from));
  } else {
    static_assert(Words == 1);
    asm volatile("ld.global.L1::no_allocate.L2::256B.u32 %0, [%1];" : "=r"(to[0]) : "l"(from));
  }
}

// Loads by shared-memory address: pointers into the tiles are not seen to be shared.
__device__ __forceinline__ uint32_t load_shared(uint32_t address) {
  uint32_t word;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(word) : "r"(address));
  return word;
}
__device__ __forceinline__ uint2 load_shared_two(uint32_t address) {
  uint2 words;
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(words.x), "=r"(words.y) : "r"(address));
  return words;
}
__device__ __forceinline__ uint4 load_shared_four(uint32_t address) {
  uint4 words;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
               : "r"(address));
  return words;
}

// Chunk number `index` of a row whose planes begin at low and high.
template <int Bits>
__device__ __forceinline__ Chunk<Bits> load_chunk(const uint8_t* low, const uint8_t* high,
                                                  int index) {
  constexpr int kBytes = kChunk * plane_width(Bits) / 8;
  Chunk<Bits> chunk;
  load_words(low + int64_t{index} * kBytes, chunk.words);
  if constexpr (Bits == 3) {
    uint32_t top[1];
    load_words(high + int64_t{index} * 4, top);
    chunk.high = top[0];
  }
  return chunk;
}

// A chunk in shared memory, at the addresses of its planes. Of 8 bits it has two parts of 16 bytes.
template <int Bits>
__device__ __forceinline__ Chunk<Bits> shared_chunk(uint32_t low, uint32_t high,
                                                    uint32_t second = 0) {
  Chunk<Bits> chunk;
  if constexpr (plane_width(Bits) == 2) {
    const uint2 two = load_shared_two(low);
    chunk.words[0] = two.x;
    chunk.words[1] = two.y;
  } else {
#pragma unroll
    for (int i = 0; i < Bits; i += 4) {
      const uint4 four = load_shared_four(i == 0 ? low : second);
      chunk.words[i] = four.x;
      chunk.words[i + 1] = four.y;
      chunk.words[i + 2] = four.z;
      chunk.words[i + 3] = four.w;
    }
  }
  if constexpr (Bits == 3) chunk.high = load_shared(high);
  return chunk;
}

}  // namespace fewbit::cuda::gptq
