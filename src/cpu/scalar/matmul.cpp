#include "matmul.h"

#include <algorithm>
#include <cstring>

#include "../../core/half.h"
#include "../ternary_order.h"

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

// The codes of a multiple of 64 packed weights, in the order of ternary_order.h.
void unpack_ternary(const int8_t* packed, int64_t count, int8_t* codes) {
  for (int64_t begin = 0; begin < count; begin += ops::bitnet::kAlignment) {
    uint32_t words[4];
    std::memcpy(words, packed + begin / 4, sizeof words);
    for (int shift = 0; shift < 8; shift += 2) {
      for (const uint32_t word : words) {
        const uint32_t four = word >> shift & 0x03030303u;
        std::memcpy(codes, &four, sizeof four);
        codes += sizeof four;
      }
    }
  }
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

void matmul_ternary(const int8_t* x, int64_t x_stride, const int32_t* x_sums, const int8_t* w,
                    int64_t w_stride, int64_t k, int64_t rows, int64_t cols, int32_t* out,
                    int64_t out_stride, bool accumulate) {
  constexpr int64_t kPiece = 1024;  // codes unpacked at a time
  int8_t codes[kPiece];
  for (int64_t j = 0; j < cols; ++j) {
    for (int64_t i = 0; i < rows; ++i) {
      int32_t& y = out[i * out_stride + j];
      y = (accumulate ? y : 0) - x_sums[i];
    }
    for (int64_t begin = 0; begin < k; begin += kPiece) {
      const int64_t count = std::min(kPiece, k - begin);
      unpack_ternary(w + j * w_stride + begin / 4, count, codes);
      for (int64_t i = 0; i < rows; ++i) {
        const int8_t* a = x + i * x_stride + begin;
        int32_t sum = 0;
        for (int64_t p = 0; p < count; ++p) sum += a[p] * codes[p];
        out[i * out_stride + j] += sum;
      }
    }
  }
}

}  // namespace fewbit::cpu::scalar
