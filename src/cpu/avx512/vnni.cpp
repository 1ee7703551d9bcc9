// int8 products where AVX-512 has VNNI. What comes before the pragma is compiled for any processor
// (see avx2/kernels.cpp).
#include "../kernels.h"

#ifdef FEWBIT_X86_SIMD

// GCC 12's own headers pass deliberately undefined registers (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")

#include "affine.h"
#include "matmul_s8.h"
#include "matmul_ternary.h"

namespace fewbit::cpu {

namespace {

int32_t sum_s8(const int8_t* x, int64_t n) {
  const __m512i ones = _mm512_set1_epi8(1);
  __m512i sums = _mm512_setzero_si512();
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) sums = _mm512_dpbusd_epi32(sums, ones, _mm512_loadu_si512(x + i));
  if (i < n) {
    const __mmask64 rest = (uint64_t{1} << (n - i)) - 1;
    sums = _mm512_dpbusd_epi32(sums, ones, _mm512_maskz_loadu_epi8(rest, x + i));
  }
  return _mm512_reduce_add_epi32(sums);
}

}  // namespace

void use_avx512_vnni(Kernels& table) {
  table.matmul_s8 = simd::matmul_s8<avx512::Vnni>;
  table.matmul_ternary = simd::matmul_s8<avx512::VnniTernary>;
  table.matmul_affine[3] = simd::matmul_affine_of<avx512::Affine, 3>;
  table.matmul_affine[4] = simd::matmul_affine_of<avx512::Affine, 4>;
  table.matmul_affine[8] = simd::matmul_affine_of<avx512::Affine, 8>;
  table.sum_s8 = sum_s8;
}

}  // namespace fewbit::cpu

#endif
