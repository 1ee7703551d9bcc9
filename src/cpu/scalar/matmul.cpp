#include "matmul.h"

#include "../../core/half.h"

namespace fewbit::cpu::scalar {

namespace {

// Partial sums kept side by side: shorter chains of rounding, and room for the compiler to use
// what vectors the processor's baseline has.
constexpr int kLanes = 8;

float widen_f32(float value) { return value; }

template <class W, float (*widen)(W)>
float dot(const float* x, const W* w, int64_t k) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += x[i + lane] * widen(w[i + lane]);
  }
  for (int lane = 0; i < k; ++i, ++lane) lanes[lane] += x[i] * widen(w[i]);
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

template <class W, float (*widen)(W)>
void matmul(const float* x, int64_t x_stride, const void* w, int64_t w_stride, int64_t k,
            int64_t rows, int64_t cols, float* out, int64_t out_stride, bool accumulate) {
  for (int64_t j = 0; j < cols; ++j) {
    const W* weight = static_cast<const W*>(w) + j * w_stride;
    for (int64_t i = 0; i < rows; ++i) {
      float& y = out[i * out_stride + j];
      const float value = dot<W, widen>(x + i * x_stride, weight, k);
      y = accumulate ? y + value : value;
    }
  }
}

}  // namespace

void matmul_f32(const float* x, int64_t x_stride, const void* w, int64_t w_stride, int64_t k,
                int64_t rows, int64_t cols, float* out, int64_t out_stride, bool accumulate) {
  matmul<float, widen_f32>(x, x_stride, w, w_stride, k, rows, cols, out, out_stride, accumulate);
}

void matmul_f16(const float* x, int64_t x_stride, const void* w, int64_t w_stride, int64_t k,
                int64_t rows, int64_t cols, float* out, int64_t out_stride, bool accumulate) {
  matmul<uint16_t, f16_to_f32>(x, x_stride, w, w_stride, k, rows, cols, out, out_stride,
                               accumulate);
}

void matmul_bf16(const float* x, int64_t x_stride, const void* w, int64_t w_stride, int64_t k,
                 int64_t rows, int64_t cols, float* out, int64_t out_stride, bool accumulate) {
  matmul<uint16_t, bf16_to_f32>(x, x_stride, w, w_stride, k, rows, cols, out, out_stride,
                                accumulate);
}

void matmul_s8(const int8_t* x, int64_t x_stride, const int32_t*, const int8_t* w, int64_t w_stride,
               int64_t k, int64_t rows, int64_t cols, int32_t* out, int64_t out_stride,
               bool accumulate) {
  for (int64_t j = 0; j < cols; ++j) {
    for (int64_t i = 0; i < rows; ++i) {
      const int8_t* a = x + i * x_stride;
      const int8_t* b = w + j * w_stride;
      int32_t& y = out[i * out_stride + j];
      uint32_t sum = accumulate ? static_cast<uint32_t>(y) : 0;  // unsigned: wraps
      for (int64_t p = 0; p < k; ++p) sum += static_cast<uint32_t>(int{a[p]} * int{b[p]});
      y = static_cast<int32_t>(sum);
    }
  }
}

}  // namespace fewbit::cpu::scalar
