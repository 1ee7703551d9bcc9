// GPTQ codes: those of 2 and 3 bits by way of a register that holds a group's 8 weights, where a
// permutation looks them up by the 3 lowest bits of an index; others are converted. Include below
// the target pragma.
#pragma once

#include <immintrin.h>

#include "../simd/gptq.h"
#include "vec.h"

namespace fewbit::cpu::avx2 {

struct Gptq {
  using V = Vec;
  using Float = __m256;
  using Bits = __m256i;
  // 2 x 4 accumulators, 2 rows of x, a weight and some of the grids fill the 16 registers.
  static constexpr int kFewRows = 2;

  static Bits word(const uint8_t* p) {
    int32_t bits;
    __builtin_memcpy(&bits, p, sizeof bits);
    return _mm256_set1_epi32(bits);
  }
  template <int Width, int First>
  static Bits shifts() {
    static constexpr simd::Shifts<Width, 8> kShifts(First);
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(kShifts.of));
  }

  // 4 and 8 bits.
  template <int Width>
  class Grid {
   public:
    Grid(float scale, float zero) : scale_(_mm256_set1_ps(scale)), zero_(_mm256_set1_ps(zero)) {}

    template <int First>
    Float weights(const uint8_t* low, const uint8_t*) const {
      const Float values = _mm256_cvtepi32_ps(codes(low + First * Width / 8));
      return _mm256_mul_ps(scale_, _mm256_sub_ps(values, zero_));
    }

   private:
    static Bits codes(const uint8_t* p) {
      if constexpr (Width == 4) {
        return _mm256_and_si256(_mm256_srlv_epi32(word(p), shifts<4, 0>()), _mm256_set1_epi32(15));
      } else {
        const __m128i order = _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, -1, -1, -1, -1, -1, -1, -1, -1);
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
        return _mm256_cvtepu8_epi32(_mm_shuffle_epi8(bytes, order));
      }
    }

    Float scale_, zero_;
  };

  // 2 and 3 bits.
  template <int Width>
  class Lookup {
   public:
    Lookup(float scale, float zero) {
      // Codes of 2 bits leave the next field's lowest in the index: the grid repeats.
      const Bits codes = _mm256_and_si256(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                                          _mm256_set1_epi32((1 << Width) - 1));
      weights_ = _mm256_mul_ps(_mm256_set1_ps(scale),
                               _mm256_sub_ps(_mm256_cvtepi32_ps(codes), _mm256_set1_ps(zero)));
    }

    template <int First>
    Float weights(const uint8_t* low, const uint8_t* high) const {
      Bits index = _mm256_srlv_epi32(word(low + First / 16 * 4), shifts<2, First>());
      if constexpr (Width == 3) {
        const Bits top = _mm256_and_si256(_mm256_srlv_epi32(word(high), shifts<1, First>()),
                                          _mm256_set1_epi32(1));
        index = _mm256_or_si256(_mm256_and_si256(index, _mm256_set1_epi32(3)),
                                _mm256_slli_epi32(top, 2));
      }
      return _mm256_permutevar8x32_ps(weights_, index);
    }

   private:
    Float weights_;
  };
};

template <>
class Gptq::Grid<2> : public Gptq::Lookup<2> {
  using Lookup::Lookup;
};

template <>
class Gptq::Grid<3> : public Gptq::Lookup<3> {
  using Lookup::Lookup;
};

}  // namespace fewbit::cpu::avx2
