// GPTQ codes to weights. The difference of a code and its zero point is exact and rounding happens
// once, in the product with the scale: the same bits at every level. An instruction set says how
// codes become weights: a type S with a vector type V, kFewRows (see matmul_gptq.h) and Grid<Bits>,
// made from the scale and zero point of a group, whose
//   weights<First>(low, high)  are a vector of them from position First of 32; high is for 3 bits
#pragma once

#include "../kernels.h"

namespace fewbit::cpu::simd {

// The bits by which lanes shift their word right, so that lane l has position first + l (modulo the
// positions of a word) in its lowest bits; rotated by `more`.
template <int Width, int Lanes>
struct Shifts {
  alignas(64) int32_t of[Lanes];
  constexpr explicit Shifts(int first, int more = 0) : of{} {
    for (int lane = 0; lane < Lanes; ++lane) {
      const int index = (first + lane) % (32 / Width);
      of[lane] = (ops::gptq::field_shift(index, Width) + more) % 32;
    }
  }
};

template <class S, int First, class Grid>
inline void store_weights(const Grid& grid, const uint8_t* low, const uint8_t* high, float* out) {
  S::V::store(out + First, grid.template weights<First>(low, high));
  constexpr int kNext = First + S::V::kWidth;
  if constexpr (kNext < 32) store_weights<S, kNext>(grid, low, high, out);
}

template <class S, int Bits>
inline void dequantize_gptq_groups(GptqSpan span, float* out) {  // a copy stays in registers
  constexpr int kLowWidth = ops::gptq::low_width(Bits);
  int64_t end = span.first_group;
  for (int64_t i = 0, group = 0; i < span.count; ++group, end += span.group_size) {
    const typename S::template Grid<Bits> grid(span.scales[group], span.zeros[group]);
    const int64_t stop = end < span.count ? end : span.count;
    for (; i < stop; i += 32) {
      const uint8_t* high = Bits == 3 ? span.high + i / 8 : nullptr;
      store_weights<S, 0>(grid, span.low + i * kLowWidth / 8, high, out + i);
    }
  }
}

template <class S>
void dequantize_gptq(const GptqSpan& span, float* out) {
  switch (span.bits) {
    case 2:
      return dequantize_gptq_groups<S, 2>(span, out);
    case 3:
      return dequantize_gptq_groups<S, 3>(span, out);
    case 4:
      return dequantize_gptq_groups<S, 4>(span, out);
    default:
      return dequantize_gptq_groups<S, 8>(span, out);
  }
}

}  // namespace fewbit::cpu::simd
