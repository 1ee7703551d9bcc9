// exp over a vector type V, within about 1 ulp; a result below the normal range may lose bits or
// become 0, NaN stays NaN.
#pragma once

namespace fewbit::cpu::simd {

// exp(x) = 2^n * exp(r) with n = round(x / ln 2) and |r| <= ln 2 / 2. ln 2 is split in two so that
// n * high is exact. The polynomial is the Taylor series, whose first term left out is below
// (ln 2 / 2)^8 / 8! = 5e-9 of the result.
template <class V>
inline typename V::Float exp(typename V::Float x) {
  using Float = typename V::Float;
  x = V::min_nan(V::max_nan(x, V::set(-104.0f)), V::set(89.0f));  // 0 and infinity beyond
  const Float n = V::round(V::mul(x, V::set(1.44269504f)));
  Float r = V::fma(n, V::set(-0x1.62e4p-1f), x);
  r = V::fma(n, V::set(-0x1.7f7d1cp-20f), r);
  Float p = V::set(1.0f / 5040);
  p = V::fma(p, r, V::set(1.0f / 720));
  p = V::fma(p, r, V::set(1.0f / 120));
  p = V::fma(p, r, V::set(1.0f / 24));
  p = V::fma(p, r, V::set(1.0f / 6));
  p = V::fma(p, r, V::set(0.5f));
  p = V::fma(p, r, V::set(1.0f));
  p = V::fma(p, r, V::set(1.0f));
  return V::scale_by_power(p, n);
}

}  // namespace fewbit::cpu::simd
