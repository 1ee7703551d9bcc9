// int8 products by VNNI, which multiplies unsigned by signed bytes: the weights are offset by 128
// (an exclusive or of the top bit), and 128 * sum_k x is taken off each total. Include below the
// target pragma.
#pragma once

#include <immintrin.h>

#include "../simd/matmul_s8.h"

namespace fewbit::cpu::avx512 {

struct Vnni {
  using Sums = __m512i;
  using Codes = __m512i;
  static constexpr int kWidth = 64;
  static constexpr int kPacked = 1;
  static constexpr int kBlockRows = 6;

  static Sums zero() { return _mm512_setzero_si512(); }
  static Codes load_x(const int8_t* p) { return _mm512_loadu_si512(p); }
  static Codes load_w(const int8_t* p) { return offset(_mm512_loadu_si512(p)); }
  static Codes load_x(const int8_t* p, int count) {
    return _mm512_maskz_loadu_epi8(first(count), p);
  }
  static Codes load_w(const int8_t* p, int count) {
    return offset(_mm512_maskz_loadu_epi8(first(count), p));
  }
  static Sums multiply_add(Codes x, Codes w, Sums sums) {
    // Not the intrinsic, for which GCC 12 moves every sum out of its register and back.
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(w), "v"(x));
    return sums;
  }
  static void add_lanes(Sums a, Sums b, Sums c, Sums d, int32_t totals[4]) {
    const Sums ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    const Sums cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    const Sums sums =
        _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    const __m256i halves =
        _mm256_add_epi32(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64(sums, 1));
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(totals),
        _mm_add_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1)));
  }
  static uint32_t correction(int32_t x_sum) { return -128u * static_cast<uint32_t>(x_sum); }

 private:
  static __mmask64 first(int count) { return (uint64_t{1} << count) - 1; }
  static Codes offset(Codes w) { return _mm512_xor_si512(w, _mm512_set1_epi8(-128)); }
};

}  // namespace fewbit::cpu::avx512
