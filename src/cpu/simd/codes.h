// What int8 quantization does to rows, over a vector type V. The same bits at every level.
#pragma once

#include "rows.h"

namespace fewbit::cpu::simd {

template <class V>
uint32_t absmax(const float* x, int64_t n, float limit) {
  auto largest = V::zero_bits();
  const auto bound = V::set(limit);
  const auto take = [&](typename V::Float values) {
    largest = V::max_bits(largest, V::magnitude_bits_below(values, bound));
  };
  for_vectors<V>(
      n, [&](int64_t i) { take(V::load(x + i)); },
      [&](int64_t i, int rest) { take(V::load_first(x + i, rest)); });
  return V::max_lanes(largest);
}

template <class V>
void mark_outliers(const float* x, int64_t n, float limit, uint8_t* flags) {
  const auto bound = V::set(limit);
  const auto mark = [&](typename V::Float values, uint8_t* to, int count) {
    uint32_t found = V::magnitude_at_least(values, bound);
    if (__builtin_expect(found != 0, 0)) {
      for (int lane = 0; lane < count; ++lane) to[lane] |= found >> lane & 1u;
    }
  };
  for_vectors<V>(
      n, [&](int64_t i) { mark(V::load(x + i), flags + i, V::kWidth); },
      [&](int64_t i, int rest) { mark(V::load_first(x + i, rest), flags + i, rest); });
}

// The product is clamped before it is rounded, so that nothing could be fused with it.
template <class V>
void quantize(const float* x, int64_t n, float factor, int8_t* codes) {
  const auto scale = V::set(factor), low = V::set(-127.0f), high = V::set(127.0f);
  const auto clamped = [&](typename V::Float values) {
    return V::min(V::max(V::zero_nan(V::mul(values, scale)), low), high);
  };
  for_vectors<V>(
      n, [&](int64_t i) { V::store_rounded(codes + i, clamped(V::load(x + i)), V::kWidth); },
      [&](int64_t i, int rest) {
        V::store_rounded(codes + i, clamped(V::load_first(x + i, rest)), rest);
      });
}

template <class V>
void quantize_grid(const float* x, int64_t n, const float* scales, const float* zeros, int bits,
                   int8_t* codes) {
  const auto most = static_cast<float>((1 << (bits - 1)) - 1);
  const auto low = V::set(-most - 1), high = V::set(most);
  const auto code_of = [&](typename V::Float value, typename V::Float scale,
                           typename V::Float zero) {
    const auto code = V::add(V::round(V::div(value, scale)), zero);
    return V::min(V::max(V::zero_nan(code), low), high);
  };
  for_vectors<V>(
      n,
      [&](int64_t i) {
        const auto code = code_of(V::load(x + i), V::load(scales + i), V::load(zeros + i));
        V::store_rounded(codes + i, code, V::kWidth);
      },
      [&](int64_t i, int rest) {
        const auto code = code_of(V::load_first(x + i, rest), V::load_first(scales + i, rest),
                                  V::load_first(zeros + i, rest));
        V::store_rounded(codes + i, code, rest);
      });
}

template <class V>
void dequantize(const int32_t* sums, int64_t n, float scale, const float* scales, const float* bias,
                float* out) {
  const auto row = V::set(scale), unit = V::set(kCodeProduct);
  const auto value_of = [&](typename V::Float sum, typename V::Float column) {
    return V::mul(V::mul(sum, row), V::mul(column, unit));
  };
  for_vectors<V>(
      n,
      [&](int64_t i) {
        auto value = value_of(V::load(sums + i), V::load(scales + i));
        if (bias) value = V::add(value, V::load(bias + i));
        V::store(out + i, value);
      },
      [&](int64_t i, int rest) {
        auto value = value_of(V::load_first(sums + i, rest), V::load_first(scales + i, rest));
        if (bias) value = V::add(value, V::load_first(bias + i, rest));
        V::store_first(out + i, value, rest);
      });
}

}  // namespace fewbit::cpu::simd
