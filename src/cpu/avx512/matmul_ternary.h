// Products of ternary weights by VNNI, with the weights as its unsigned bytes. Include below the
// target pragma.
#pragma once

#include <immintrin.h>

#include "matmul_s8.h"

namespace fewbit::cpu::avx512 {

struct VnniTernary : Vnni {
  static constexpr int kPacked = 4;

  static Codes load_w(const int8_t* p) {
    const __m512i packed =
        _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const __m512i shifts = _mm512_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6);
    return _mm512_and_si512(_mm512_srlv_epi32(packed, shifts), _mm512_set1_epi8(3));
  }
  static uint32_t correction(int32_t x_sum) { return -static_cast<uint32_t>(x_sum); }
};

}  // namespace fewbit::cpu::avx512
