// Affine codes of 3 and 4 bits, whose products with int8 do not saturate vpmaddubsw in pairs; those of
// 8 bits would. Include below the target pragma.
#pragma once

#include <immintrin.h>

#include "../simd/matmul_affine.h"
#include "vec.h"

namespace fewbit::cpu::avx2 {

struct Affine {
  using V = Vec;
  using Float = __m256;
  using Codes = __m256i;
  static constexpr int kParts = 2;
  // 2 x 4 totals, codes, a grid, and products under way, out of 16 registers.
  static constexpr int kBlockRows = 2;

  template <int Bits>
  static void unpack(const uint8_t* low, const uint8_t* high, int part, Codes (&u)[2]) {
    if constexpr (Bits == 4) {
      const Codes packed = load(low + part * 32), mask = _mm256_set1_epi8(15);
      u[0] = _mm256_and_si256(packed, mask);
      u[1] = _mm256_and_si256(_mm256_srli_epi16(packed, 4), mask);
    } else {
      const Codes twos = load(low);
      const Codes ones = _mm256_permutevar8x32_epi32(
          _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(high))),
          _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
      // Field 4 v + 2 part + half of the top bits, in lane 2 t + v; 2 part + half of the others.
      const Codes one_at = _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4);
      for (int half = 0; half < 2; ++half) {
        const int field = 2 * part + half;
        const Codes low_bits = _mm256_and_si256(
            _mm256_srlv_epi32(twos, _mm256_set1_epi32(2 * field)), _mm256_set1_epi8(3));
        const Codes top_bit = _mm256_and_si256(
            _mm256_srlv_epi32(ones, _mm256_add_epi32(one_at, _mm256_set1_epi32(field))),
            _mm256_set1_epi8(1));
        u[half] = _mm256_or_si256(low_bits, _mm256_slli_epi32(top_bit, 2));
      }
    }
  }

  static Float dot(const Codes (&u)[2], const int8_t* x, int stride) {
    const __m256i front = _mm256_maddubs_epi16(u[0], load(x));
    const __m256i back = _mm256_maddubs_epi16(u[1], load(x + stride));
    const __m256i pairs = _mm256_add_epi16(front, back);
    return _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }

  template <int Bits>
  static Float spread(const float (&values)[4], int part) {
    static constexpr Blocks<Bits> kBlocks;
    return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_load_ps(values)),
                                    load(kBlocks.of + part * 8));
  }

 private:
  template <int Bits>
  struct Blocks {
    alignas(32) int32_t of[kChunkLanes];
    constexpr Blocks() : of{} {
      for (int lane = 0; lane < kChunkLanes; ++lane) of[lane] = lane_block(Bits, lane);
    }
  };
  static Codes load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
};

}  // namespace fewbit::cpu::avx2
