// Elementwise loops and reductions over a vector type V. The last vector of a row is partial.
#pragma once

#include "../kernels.h"
#include "exp.h"

namespace fewbit::cpu::simd {

// Calls body(i, count) for each vector's worth of 0 .. n: with a constant count while vectors are
// full, so that the compiler keeps no masks, and once for the rest.
template <class V, class Full, class Rest>
inline void for_vectors(int64_t n, const Full& full, const Rest& rest) {
  int64_t i = 0;
  for (; i + V::kWidth <= n; i += V::kWidth) full(i);
  if (i < n) rest(i, static_cast<int>(n - i));
}

template <class V, class W>
void widen(const void* x, int64_t n, float* out) {
  const W* values = static_cast<const W*>(x);
  for_vectors<V>(
      n, [&](int64_t i) { V::store(out + i, V::load(values + i)); },
      [&](int64_t i, int rest) { V::store_first(out + i, V::load_first(values + i, rest), rest); });
}

template <class V, class W>
void narrow(const float* x, int64_t n, void* out) {
  W* values = static_cast<W*>(out);
  for_vectors<V>(
      n, [&](int64_t i) { V::store(values + i, V::load(x + i)); },
      [&](int64_t i, int rest) { V::store_first(values + i, V::load_first(x + i, rest), rest); });
}

// out[i] = f(a[i], b[i])
template <class V, class F>
inline void zip(const float* a, const float* b, int64_t n, float* out, const F& f) {
  for_vectors<V>(
      n, [&](int64_t i) { V::store(out + i, f(V::load(a + i), V::load(b + i))); },
      [&](int64_t i, int rest) {
        V::store_first(out + i, f(V::load_first(a + i, rest), V::load_first(b + i, rest)), rest);
      });
}

template <class V>
void add(const float* a, const float* b, int64_t n, float* out) {
  zip<V>(a, b, n, out, [](auto p, auto q) { return V::add(p, q); });
}

template <class V>
void multiply(const float* a, const float* b, int64_t n, float* out) {
  zip<V>(a, b, n, out, [](auto p, auto q) { return V::mul(p, q); });
}

template <class V>
void silu_mul(const float* gate, const float* up, int64_t n, float* out) {
  zip<V>(gate, up, n, out, [](auto g, auto u) {
    const auto one = V::set(1.0f);
    const auto e = exp<V>(V::minus_abs(g));
    const auto sigmoid = V::div(V::pick_negative(g, e, one), V::add(one, e));
    return V::mul(V::mul(g, sigmoid), u);
  });
}

template <class V>
void relu2_mul(const float* gate, const float* up, int64_t n, float* out) {
  zip<V>(gate, up, n, out, [](auto g, auto u) {
    const auto positive = V::max_nan(g, V::zero());
    return V::mul(V::mul(positive, positive), u);
  });
}

template <class V>
float sum(const float* x, int64_t n) {
  auto total = V::zero();
  for_vectors<V>(
      n, [&](int64_t i) { total = V::add(total, V::load(x + i)); },
      [&](int64_t i, int rest) { total = V::add(total, V::load_first(x + i, rest)); });
  return V::add_lanes(total);
}

template <class V>
float sum_squares(const float* x, int64_t n, float center) {
  auto total = V::zero();
  const auto middle = V::set(center);
  for_vectors<V>(
      n,
      [&](int64_t i) {
        const auto difference = V::sub(V::load(x + i), middle);
        total = V::fma(difference, difference, total);
      },
      [&](int64_t i, int rest) {
        const auto difference = V::keep_first(V::sub(V::load_first(x + i, rest), middle), rest);
        total = V::fma(difference, difference, total);
      });
  return V::add_lanes(total);
}

template <class V>
void normalize(const float* x, int64_t n, float center, float factor, const float* weight,
               const float* bias, float* out) {
  const auto middle = V::set(center), scale = V::set(factor);
  for_vectors<V>(
      n,
      [&](int64_t i) {
        auto value = V::mul(V::sub(V::load(x + i), middle), scale);
        if (weight) value = V::mul(value, V::load(weight + i));
        if (bias) value = V::add(value, V::load(bias + i));
        V::store(out + i, value);
      },
      [&](int64_t i, int rest) {
        auto value = V::mul(V::sub(V::load_first(x + i, rest), middle), scale);
        if (weight) value = V::mul(value, V::load_first(weight + i, rest));
        if (bias) value = V::add(value, V::load_first(bias + i, rest));
        V::store_first(out + i, value, rest);
      });
}

template <class V>
float max(const float* x, int64_t n) {
  auto largest = V::set(-__builtin_inff());
  for_vectors<V>(
      n, [&](int64_t i) { largest = V::max(largest, V::load(x + i)); },
      [&](int64_t i, int rest) {
        largest = V::max(largest, V::load_first_or(x + i, rest, -__builtin_inff()));
      });
  return V::max_lanes(largest);
}

template <class V>
float exp_sum(const float* x, int64_t n, float shift, float* out) {
  auto total = V::zero();
  const auto less = V::set(shift);
  for_vectors<V>(
      n,
      [&](int64_t i) {
        const auto value = exp<V>(V::sub(V::load(x + i), less));
        V::store(out + i, value);
        total = V::add(total, value);
      },
      [&](int64_t i, int rest) {
        const auto value = V::keep_first(exp<V>(V::sub(V::load_first(x + i, rest), less)), rest);
        V::store_first(out + i, value, rest);
        total = V::add(total, value);
      });
  return V::add_lanes(total);
}

}  // namespace fewbit::cpu::simd
