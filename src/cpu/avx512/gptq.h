// GPTQ codes of up to 4 bits by way of a register that holds a group's 16 weights: a permutation
// looks them up and ignores all but the 4 lowest bits of an index, so that fields need no mask.
// Include below the target pragma.
#pragma once

#include <immintrin.h>

#include "../simd/gptq.h"
#include "vec.h"

namespace fewbit::cpu::avx512 {

struct Gptq {
  using V = Vec;
  using Float = __m512;
  using Bits = __m512i;
  // 4 x 4 accumulators, 4 grids, 4 rows of x, shifts and a mask, out of 32 registers.
  static constexpr int kFewRows = 4;

  template <int Width>
  class Grid {
   public:
    Grid(float scale, float zero) {
      const Bits lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
      // Codes of 2 and 3 bits leave neighbouring fields in the index: the grid repeats.
      const Bits codes = _mm512_and_si512(lanes, _mm512_set1_epi32((1 << Width) - 1));
      weights_ = _mm512_mul_ps(_mm512_set1_ps(scale),
                               _mm512_sub_ps(_mm512_cvtepi32_ps(codes), _mm512_set1_ps(zero)));
    }

    template <int First>
    Float weights(const uint8_t* low, const uint8_t* high) const {
      return _mm512_permutexvar_ps(index<First>(low, high), weights_);
    }

   private:
    template <int First>
    static Bits index(const uint8_t* low, const uint8_t* high) {
      if constexpr (Width == 4) {
        const Bits halves = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
        const __m128i pair = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(low + First / 2));
        const Bits words = _mm512_permutexvar_epi32(halves, _mm512_castsi128_si512(pair));
        return _mm512_srlv_epi32(words, shifts<4, 0, 0>());
      } else {
        const Bits fields = _mm512_srlv_epi32(word(low + First / 4), shifts<2, 0, 0>());
        if constexpr (Width == 2) return fields;
        const Bits tops = _mm512_rorv_epi32(word(high), shifts<1, First, 30>());
        return _mm512_ternarylogic_epi32(_mm512_set1_epi32(3), fields, tops, 0xca);  // 3 ? a : b
      }
    }
    static Bits word(const uint8_t* p) {
      int32_t bits;
      __builtin_memcpy(&bits, p, sizeof bits);
      return _mm512_set1_epi32(bits);
    }
    template <int FieldWidth, int First, int More>
    static Bits shifts() {
      static constexpr simd::Shifts<FieldWidth, 16> kShifts(First, More);
      return _mm512_load_si512(kShifts.of);
    }

    Float weights_;
  };
};

template <>
class Gptq::Grid<8> {
 public:
  Grid(float scale, float zero) : scale_(_mm512_set1_ps(scale)), zero_(_mm512_set1_ps(zero)) {}

  template <int First>
  Float weights(const uint8_t* low, const uint8_t*) const {
    const __m128i order = _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);
    const auto* from = reinterpret_cast<const __m128i*>(low + First);
    const __m128i codes = _mm_shuffle_epi8(_mm_loadu_si128(from), order);
    const Float values = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes));
    return _mm512_mul_ps(scale_, _mm512_sub_ps(values, zero_));
  }

 private:
  Float scale_, zero_;
};

}  // namespace fewbit::cpu::avx512
