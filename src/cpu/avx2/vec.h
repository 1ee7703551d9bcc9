// Eight floats in a register. Include below the target pragma.
#pragma once

#include <immintrin.h>

#include "../simd/half_tags.h"

namespace fewbit::cpu::avx2 {

using simd::BF16;
using simd::F16;

struct Vec {
  using Float = __m256;
  using Bits = __m256i;
  static constexpr int kWidth = 8;
  // 3 x 4 accumulators, 3 rows of x and a weight fill the 16 registers.
  static constexpr int kBlockRows = 3;

  static Float zero() { return _mm256_setzero_ps(); }
  static Float set(float value) { return _mm256_set1_ps(value); }

  static Float load(const float* p) { return _mm256_loadu_ps(p); }
  static Float load(const int32_t* p) { return _mm256_cvtepi32_ps(load_bits(p)); }
  static Float load(const F16* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Float load(const BF16* p) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }

  // The first count values, 0 < count <= kWidth, and zeros; nothing beyond them is touched.
  static Float load_first(const float* p, int count) { return _mm256_maskload_ps(p, first(count)); }
  static Float load_first(const int32_t* p, int count) {
    return _mm256_cvtepi32_ps(_mm256_maskload_epi32(p, first(count)));
  }
  template <class Half>
  static Float load_first(const Half* p, int count) {
    Half values[kWidth] = {};
    __builtin_memcpy(values, p, count * sizeof(Half));
    return load(values);
  }
  static Float load_first_or(const float* p, int count, float other) {
    return _mm256_blendv_ps(set(other), load_first(p, count), _mm256_castsi256_ps(first(count)));
  }

  static void store(float* p, Float a) { _mm256_storeu_ps(p, a); }
  static void store(F16* p, Float a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static void store(BF16* p, Float a) {
    const Bits bits = _mm256_castps_si256(a), high = _mm256_srli_epi32(bits, 16);
    const Bits odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    const Bits bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    const Bits rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, bias), 16);
    const Bits quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
    const Bits nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    const Bits halves = _mm256_blendv_epi8(rounded, quiet, nan);
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(p),
        _mm_packus_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1)));
  }
  static void store_first(float* p, Float a, int count) { _mm256_maskstore_ps(p, first(count), a); }
  template <class Half>
  static void store_first(Half* p, Float a, int count) {
    Half values[kWidth];
    store(values, a);
    __builtin_memcpy(p, values, count * sizeof(Half));
  }
  static Float keep_first(Float a, int count) {
    return _mm256_and_ps(a, _mm256_castsi256_ps(first(count)));
  }

  static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
  static Float sub(Float a, Float b) { return _mm256_sub_ps(a, b); }
  static Float mul(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static Float div(Float a, Float b) { return _mm256_div_ps(a, b); }
  static Float fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
  static Float min(Float a, Float b) { return _mm256_min_ps(a, b); }
  static Float max(Float a, Float b) { return _mm256_max_ps(a, b); }
  // A NaN in a stays.
  static Float min_nan(Float a, Float bound) { return _mm256_min_ps(bound, a); }
  static Float max_nan(Float a, Float bound) { return _mm256_max_ps(bound, a); }
  static Float zero_nan(Float a) { return _mm256_and_ps(a, _mm256_cmp_ps(a, a, _CMP_ORD_Q)); }
  static Float minus_abs(Float a) { return _mm256_or_ps(a, set(-0.0f)); }
  static Float pick_negative(Float sign, Float negative, Float positive) {
    return _mm256_blendv_ps(positive, negative, sign);
  }
  static Float round(Float a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  // a * 2^n for an integral n, in two steps so that each power is a float.
  static Float scale_by_power(Float a, Float n) {
    const Bits whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    return mul(mul(a, power(half)), power(_mm256_sub_epi32(whole, half)));
  }

  static float add_lanes(Float a) {
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_shuffle_ps(sum, sum, 1)));
  }
  static void add_lanes(Float a, Float b, Float c, Float d, float totals[4]) {
    const Float sums = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    _mm_storeu_ps(totals, _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1)));
  }
  static float max_lanes(Float a) {
    __m128 most = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    most = _mm_max_ps(most, _mm_movehl_ps(most, most));
    return _mm_cvtss_f32(_mm_max_ss(most, _mm_shuffle_ps(most, most, 1)));
  }

  static Bits zero_bits() { return _mm256_setzero_si256(); }
  static Bits max_bits(Bits a, Bits b) { return _mm256_max_epi32(a, b); }
  // |a| as bits, 0 where |a| >= bound.
  static Bits magnitude_bits_below(Float a, Float bound) {
    const Float magnitude = abs(a);
    return _mm256_castps_si256(
        _mm256_andnot_ps(_mm256_cmp_ps(magnitude, bound, _CMP_GE_OQ), magnitude));
  }
  static uint32_t max_lanes(Bits a) {
    __m128i most = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0x4e));
    most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0xb1));
    return static_cast<uint32_t>(_mm_cvtsi128_si32(most));
  }
  // One bit per lane: |a| >= bound.
  static uint32_t magnitude_at_least(Float a, Float bound) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(abs(a), bound, _CMP_GE_OQ)));
  }
  // The first count values, all within int8, rounded half to even.
  static void store_rounded(int8_t* p, Float a, int count) {
    const Bits whole = _mm256_cvtps_epi32(a);
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    const int64_t bytes = _mm_cvtsi128_si64(_mm_packs_epi16(words, words));
    if (count == kWidth) {
      __builtin_memcpy(p, &bytes, kWidth);
    } else {
      __builtin_memcpy(p, &bytes, count);
    }
  }

 private:
  static Bits load_bits(const int32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Bits first(int count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static Float abs(Float a) { return _mm256_andnot_ps(set(-0.0f), a); }
  static Float power(Bits n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
  }
};

}  // namespace fewbit::cpu::avx2
