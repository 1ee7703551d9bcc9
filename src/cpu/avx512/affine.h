// Affine codes by VNNI, which multiplies unsigned by signed bytes. Include below the target pragma.
#pragma once

#include <immintrin.h>

#include "../simd/matmul_affine.h"
#include "vec.h"

namespace fewbit::cpu::avx512 {

struct Affine {
  using V = Vec;
  using Float = __m512;
  using Codes = __m512i;
  static constexpr int kParts = 1;
  // 4 x 4 totals, codes, a grid, and products under way, out of 32 registers.
  static constexpr int kBlockRows = 4;

  template <int Bits>
  static void unpack(const uint8_t* low, const uint8_t* high, int, Codes (&u)[2]) {
    if constexpr (Bits == 8) {
      const Codes top = _mm512_set1_epi8(-128);
      u[0] = _mm512_xor_si512(_mm512_loadu_si512(low), top);
      u[1] = _mm512_xor_si512(_mm512_loadu_si512(low + 64), top);
    } else if constexpr (Bits == 4) {
      const Codes packed = _mm512_loadu_si512(low), mask = _mm512_set1_epi8(15);
      u[0] = _mm512_and_si512(packed, mask);
      u[1] = _mm512_and_si512(_mm512_srli_epi16(packed, 4), mask);
    } else {
      const Codes twos =
          _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(low)));
      const Codes ones = _mm512_permutexvar_epi32(
          _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 0, 0, 1, 1, 2, 2, 3, 3),
          _mm512_castsi128_si512(_mm_loadu_si128(reinterpret_cast<const __m128i*>(high))));
      // Field 4 v + 2 s + half of the top bits, in lane 8 s + 2 t + v; 2 s + half of the others.
      const Codes one_at = _mm512_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4, 2, 6, 2, 6, 2, 6, 2, 6);
      const Codes two_at = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 4, 4);
      for (int half = 0; half < 2; ++half) {
        const Codes low_bits = _mm512_and_si512(
            _mm512_srlv_epi32(twos, _mm512_add_epi32(two_at, _mm512_set1_epi32(2 * half))),
            _mm512_set1_epi8(3));
        const Codes top_bit = _mm512_and_si512(
            _mm512_srlv_epi32(ones, _mm512_add_epi32(one_at, _mm512_set1_epi32(half))),
            _mm512_set1_epi8(1));
        u[half] = _mm512_or_si512(low_bits, _mm512_slli_epi32(top_bit, 2));
      }
    }
  }

  static Float dot(const Codes (&u)[2], const int8_t* x, int stride) {
    // Not the intrinsic: see matmul_s8.h.
    __m512i sums = _mm512_setzero_si512();
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(u[0]), "v"(_mm512_loadu_si512(x)));
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(u[1]), "v"(_mm512_loadu_si512(x + stride)));
    return _mm512_cvtepi32_ps(sums);
  }

  template <int Bits>
  static Float spread(const float (&values)[4], int) {
    static constexpr Blocks<Bits> kBlocks;
    return _mm512_permutexvar_ps(_mm512_load_si512(kBlocks.of),
                                 _mm512_castps128_ps512(_mm_load_ps(values)));
  }

 private:
  template <int Bits>
  struct Blocks {
    alignas(64) int32_t of[kChunkLanes];
    constexpr Blocks() : of{} {
      for (int lane = 0; lane < kChunkLanes; ++lane) of[lane] = lane_block(Bits, lane);
    }
  };
};

}  // namespace fewbit::cpu::avx512
