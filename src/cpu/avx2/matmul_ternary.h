// Products of ternary weights by vpmaddubsw, whose pairs of products stay far below the limit of
// int16 since weights are codes 0, 1 and 2. Include below the target pragma.
#pragma once

#include <immintrin.h>

#include "../simd/matmul_s8.h"

namespace fewbit::cpu::avx2 {

struct Ternary {
  using Sums = __m256i;
  struct Codes {
    __m256i low, high;
  };
  static constexpr int kWidth = 64;
  static constexpr int kPacked = 4;
  // 2 x 4 accumulators, 2 x 2 of x, 2 of weights, the mask and a product fill the 16 registers.
  static constexpr int kBlockRows = 2;

  static Sums zero() { return _mm256_setzero_si256(); }
  static Codes load_x(const int8_t* p) {
    const auto* from = reinterpret_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(from), _mm256_loadu_si256(from + 1)};
  }
  static Codes load_w(const int8_t* p) {
    const __m256i packed =
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const __m256i mask = _mm256_set1_epi8(3);
    const __m256i shifts = _mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2);
    const __m256i low = _mm256_srlv_epi32(packed, shifts);
    return {_mm256_and_si256(low, mask), _mm256_and_si256(_mm256_srli_epi32(low, 4), mask)};
  }
  static Sums multiply_add(const Codes& x, const Codes& w, Sums sums) {
    const __m256i pairs =
        _mm256_add_epi16(_mm256_maddubs_epi16(w.low, x.low), _mm256_maddubs_epi16(w.high, x.high));
    return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  static void add_lanes(Sums a, Sums b, Sums c, Sums d, int32_t totals[4]) {
    Widening::add_lanes(a, b, c, d, totals);
  }
  static uint32_t correction(int32_t x_sum) { return -static_cast<uint32_t>(x_sum); }
};

}  // namespace fewbit::cpu::avx2
