// The portable level, which is the reference of the others.
#include "../kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "../../core/half.h"
#include "../../ops/affine_codes.h"
#include "gptq.h"
#include "matmul.h"

namespace fewbit::cpu {

namespace {

int32_t sum_s8(const int8_t* x, int64_t n) {
  int64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  return static_cast<int32_t>(sum);
}

void copy_in(const void* x, int64_t n, float* out) { std::memcpy(out, x, n * sizeof(float)); }

void copy_out(const float* x, int64_t n, void* out) { std::memcpy(out, x, n * sizeof(float)); }

template <float (*convert)(uint16_t)>
void widen(const void* x, int64_t n, float* out) {
  const auto* values = static_cast<const uint16_t*>(x);
  for (int64_t i = 0; i < n; ++i) out[i] = convert(values[i]);
}

template <uint16_t (*convert)(float)>
void narrow(const float* x, int64_t n, void* out) {
  auto* values = static_cast<uint16_t*>(out);
  for (int64_t i = 0; i < n; ++i) values[i] = convert(x[i]);
}

void add(const float* a, const float* b, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] + b[i];
}

void multiply(const float* a, const float* b, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] * b[i];
}

// The exponential is taken of -|gate|, which cannot overflow.
void silu_mul(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const float e = std::exp(-std::fabs(gate[i]));
    const float sigmoid = (gate[i] < 0 ? e : 1.0f) / (1.0f + e);
    out[i] = gate[i] * sigmoid * up[i];
  }
}

void relu2_mul(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const float positive = gate[i] < 0 ? 0.0f : gate[i];
    out[i] = positive * positive * up[i];
  }
}

float sum(const float* x, int64_t n) {
  double total = 0;
  for (int64_t i = 0; i < n; ++i) total += x[i];
  return static_cast<float>(total);
}

float sum_squares(const float* x, int64_t n, float center) {
  double total = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double difference = x[i] - center;
    total += difference * difference;
  }
  return static_cast<float>(total);
}

void normalize(const float* x, int64_t n, float center, float factor, const float* weight,
               const float* bias, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    float value = (x[i] - center) * factor;
    if (weight) value *= weight[i];
    if (bias) value += bias[i];
    out[i] = value;
  }
}

float max(const float* x, int64_t n) {
  float largest = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, x[i]);
  return largest;
}

float exp_sum(const float* x, int64_t n, float shift, float* out) {
  double total = 0;
  for (int64_t i = 0; i < n; ++i) {
    out[i] = std::exp(x[i] - shift);
    total += out[i];
  }
  return static_cast<float>(total);
}

void rank_update(const float* c, int64_t count, const float* w, int64_t w_stride, int64_t n,
                 float* y) {
  for (int64_t i = 0; i < count; ++i) {
    const float* row = w + i * w_stride;
    for (int64_t j = 0; j < n; ++j) y[j] += c[i] * row[j];
  }
}

uint32_t absmax(const float* x, int64_t n, float limit) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(x[i]) & 0x7fffffffu;
    if (!(std::bit_cast<float>(magnitude) >= limit)) largest = std::max(largest, magnitude);
  }
  return largest;
}

void mark_outliers(const float* x, int64_t n, float limit, uint8_t* flags) {
  for (int64_t i = 0; i < n; ++i) flags[i] |= std::fabs(x[i]) >= limit;
}

void quantize(const float* x, int64_t n, float factor, int8_t* codes) {
  // Adding 1.5 * 2^23 leaves no fraction bits, so the addition itself rounds half to even. The
  // clamp stands between it and the product, so that no compiler can fuse the two.
  constexpr float kRounder = 12582912.0f;
  for (int64_t i = 0; i < n; ++i) {
    const float scaled = x[i] * factor;
    const float clamped = std::clamp(std::isnan(scaled) ? 0.0f : scaled, -127.0f, 127.0f);
    codes[i] = static_cast<int8_t>((clamped + kRounder) - kRounder);
  }
}

void quantize_grid(const float* x, int64_t n, const float* scales, const float* zeros, int bits,
                   int8_t* codes) {
  const auto most = static_cast<float>(ops::affine::largest_code(bits));
  for (int64_t i = 0; i < n; ++i) {
    const float code = std::nearbyint(x[i] / scales[i]) + zeros[i];
    codes[i] = static_cast<int8_t>(std::isnan(code) ? 0.0f : std::clamp(code, -most - 1, most));
  }
}

void dequantize(const int32_t* sums, int64_t n, float scale, const float* scales, const float* bias,
                float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const float value = static_cast<float>(sums[i]) * scale * (scales[i] * kCodeProduct);
    out[i] = bias ? value + bias[i] : value;
  }
}

}  // namespace

void use_scalar(Kernels& table) {
  table = {
      .matmul = {scalar::matmul_f32, scalar::matmul_f16, scalar::matmul_bf16},
      .matmul_s8 = scalar::matmul_s8,
      .matmul_ternary = scalar::matmul_ternary,
      .sum_s8 = sum_s8,
      .widen = {copy_in, widen<f16_to_f32>, widen<bf16_to_f32>},
      .narrow = {copy_out, narrow<f32_to_f16>, narrow<f32_to_bf16>},
      .add = add,
      .multiply = multiply,
      .silu_mul = silu_mul,
      .relu2_mul = relu2_mul,
      .sum = sum,
      .sum_squares = sum_squares,
      .normalize = normalize,
      .max = max,
      .exp_sum = exp_sum,
      .rank_update = rank_update,
      .absmax = absmax,
      .mark_outliers = mark_outliers,
      .quantize = quantize,
      .quantize_grid = quantize_grid,
      .dequantize = dequantize,
      .dequantize_gptq = scalar::dequantize_gptq,
      .matmul_gptq = nullptr,
      .gptq_rows = 0,
      .matmul_affine = {},
  };
}

}  // namespace fewbit::cpu
