// int8 products by way of int16: vpmaddubsw would saturate on full-range codes. Include below the
// target pragma.
#pragma once

#include <immintrin.h>

#include "../simd/matmul_s8.h"

namespace fewbit::cpu::avx2 {

struct Widening {
  using Sums = __m256i;
  using Codes = __m256i;  // sixteen, as int16
  static constexpr int kWidth = 16;
  static constexpr int kPacked = 1;
  static constexpr int kBlockRows = 2;

  static Sums zero() { return _mm256_setzero_si256(); }
  static Codes load_x(const int8_t* p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Codes load_w(const int8_t* p) { return load_x(p); }
  static Codes load_x(const int8_t* p, int count) {
    int8_t codes[kWidth] = {};
    __builtin_memcpy(codes, p, count);
    return load_x(codes);
  }
  static Codes load_w(const int8_t* p, int count) { return load_x(p, count); }
  static Sums multiply_add(Codes x, Codes w, Sums sums) {
    return _mm256_add_epi32(sums, _mm256_madd_epi16(x, w));
  }
  static void add_lanes(Sums a, Sums b, Sums c, Sums d, int32_t totals[4]) {
    const Sums sums = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(totals),
        _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1)));
  }
  static uint32_t correction(int32_t) { return 0; }
};

}  // namespace fewbit::cpu::avx2
