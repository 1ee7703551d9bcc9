// Sixteen floats in a register. Include below the target pragma.
#pragma once

#include <immintrin.h>

#include "../simd/half_tags.h"

namespace fewbit::cpu::avx512 {

using simd::BF16;
using simd::F16;

struct Vec {
  using Float = __m512;
  using Bits = __m512i;
  static constexpr int kWidth = 16;
  // 6 x 4 accumulators, 4 weights and a row of x, out of 32 registers.
  static constexpr int kBlockRows = 6;

  static Float zero() { return _mm512_setzero_ps(); }
  static Float set(float value) { return _mm512_set1_ps(value); }

  static Float load(const float* p) { return _mm512_loadu_ps(p); }
  static Float load(const int32_t* p) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(p)); }
  static Float load(const F16* p) {
    return widen_f16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Float load(const BF16* p) {
    return widen_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }

  // The first count values, 0 < count <= kWidth, and zeros; nothing beyond them is touched.
  static Float load_first(const float* p, int count) {
    return _mm512_maskz_loadu_ps(first(count), p);
  }
  static Float load_first(const int32_t* p, int count) {
    return _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(first(count), p));
  }
  static Float load_first(const F16* p, int count) {
    return widen_f16(_mm256_maskz_loadu_epi16(first(count), p));
  }
  static Float load_first(const BF16* p, int count) {
    return widen_bf16(_mm256_maskz_loadu_epi16(first(count), p));
  }
  static Float load_first_or(const float* p, int count, float other) {
    return _mm512_mask_loadu_ps(set(other), first(count), p);
  }

  static void store(float* p, Float a) { _mm512_storeu_ps(p, a); }
  static void store(F16* p, Float a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow_f16(a));
  }
  static void store(BF16* p, Float a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow_bf16(a));
  }
  static void store_first(float* p, Float a, int count) {
    _mm512_mask_storeu_ps(p, first(count), a);
  }
  static void store_first(F16* p, Float a, int count) {
    _mm256_mask_storeu_epi16(p, first(count), narrow_f16(a));
  }
  static void store_first(BF16* p, Float a, int count) {
    _mm256_mask_storeu_epi16(p, first(count), narrow_bf16(a));
  }
  static Float keep_first(Float a, int count) { return _mm512_maskz_mov_ps(first(count), a); }

  static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static Float sub(Float a, Float b) { return _mm512_sub_ps(a, b); }
  static Float mul(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static Float div(Float a, Float b) { return _mm512_div_ps(a, b); }
  static Float fma(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
  static Float min(Float a, Float b) { return _mm512_min_ps(a, b); }
  static Float max(Float a, Float b) { return _mm512_max_ps(a, b); }
  // A NaN in a stays.
  static Float min_nan(Float a, Float bound) { return _mm512_min_ps(bound, a); }
  static Float max_nan(Float a, Float bound) { return _mm512_max_ps(bound, a); }
  static Float zero_nan(Float a) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, a, _CMP_ORD_Q), a);
  }
  static Float minus_abs(Float a) { return _mm512_or_ps(a, set(-0.0f)); }
  static Float pick_negative(Float sign, Float negative, Float positive) {
    return _mm512_mask_mov_ps(positive, _mm512_movepi32_mask(_mm512_castps_si512(sign)), negative);
  }
  static Float round(Float a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  // a * 2^n for an integral n.
  static Float scale_by_power(Float a, Float n) { return _mm512_scalef_ps(a, n); }

  static float add_lanes(Float a) { return _mm512_reduce_add_ps(a); }
  static void add_lanes(Float a, Float b, Float c, Float d, float totals[4]) {
    const Float ab = add(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const Float cd = add(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    const __m512d low = _mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    const __m512d high = _mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    const Float sums = add(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
    const __m256 halves =
        _mm256_add_ps(_mm512_castps512_ps256(sums), _mm512_extractf32x8_ps(sums, 1));
    _mm_storeu_ps(totals,
                  _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1)));
  }
  static float max_lanes(Float a) { return _mm512_reduce_max_ps(a); }

  static Bits zero_bits() { return _mm512_setzero_si512(); }
  static Bits max_bits(Bits a, Bits b) { return _mm512_max_epi32(a, b); }
  // |a| as bits, 0 where |a| >= bound.
  static Bits magnitude_bits_below(Float a, Float bound) {
    const Float magnitude = _mm512_abs_ps(a);
    const __mmask16 above = _mm512_cmp_ps_mask(magnitude, bound, _CMP_GE_OQ);
    return _mm512_maskz_mov_epi32(static_cast<__mmask16>(~above), _mm512_castps_si512(magnitude));
  }
  static uint32_t max_lanes(Bits a) { return static_cast<uint32_t>(_mm512_reduce_max_epi32(a)); }
  // One bit per lane: |a| >= bound.
  static uint32_t magnitude_at_least(Float a, Float bound) {
    return _mm512_cmp_ps_mask(_mm512_abs_ps(a), bound, _CMP_GE_OQ);
  }
  // The first count values, all within int8, rounded half to even.
  static void store_rounded(int8_t* p, Float a, int count) {
    _mm512_mask_cvtepi32_storeu_epi8(p, first(count), _mm512_cvtps_epi32(a));
  }

 private:
  static __mmask16 first(int count) { return static_cast<__mmask16>((1u << count) - 1); }
  static Float widen_f16(__m256i halves) { return _mm512_cvtph_ps(halves); }
  static Float widen_bf16(__m256i halves) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
  static __m256i narrow_f16(Float a) {
    return _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static __m256i narrow_bf16(Float a) {
    const Bits bits = _mm512_castps_si512(a), high = _mm512_srli_epi32(bits, 16);
    const Bits odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const Bits bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    const Bits rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, bias), 16);
    const Bits quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
    const __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, nan, quiet));
  }
};

}  // namespace fewbit::cpu::avx512
