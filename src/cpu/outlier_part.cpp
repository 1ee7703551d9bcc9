#include "outlier_part.h"

#include <algorithm>

#include "../core/half.h"
#include "../ops/linear_int8.h"
#include "matmul.h"

namespace fewbit::cpu {

using namespace ops::linear_int8;

namespace {

constexpr int64_t kColumns = 64;  // gathered at a time

float round_to_half(float value) { return f16_to_f32(f32_to_f16(value)); }

}  // namespace

OutlierPart::OutlierPart(const OpCall& call, bool half_precision)
    : call_(call), kernel_(kernels()), half_precision_(half_precision) {
  if (call[columns]) count_ = *call[count].as<int32_t>();
}

// The weights of one column for outputs col .. col + cols.
void OutlierPart::read_weights(int64_t column, int64_t col, int64_t cols, float* to) const {
  const TensorView& originals = call_[kept];
  if (originals && !half_precision_) {
    const int64_t slot = call_[kept_slots].as<int32_t>()[column];
    if (slot >= 0) {
      kernel_.widen[static_cast<int>(originals.dtype)](
          originals.as<char>() + (slot * originals.shape[1] + col) * size_of(originals.dtype), cols,
          to);
      return;
    }
  }
  const int64_t stride = call_[weight].shape[1];
  const int8_t* code = call_[weight].as<int8_t>() + col * stride + column;
  const float* scale = call_[weight_scales].as<float>() + col;
  for (int64_t j = 0; j < cols; ++j) {
    const float value = code[j * stride] * scale[j] / 127.0f;
    to[j] = half_precision_ ? round_to_half(value) : value;
  }
}

void OutlierPart::add(int64_t row, int64_t rows, int64_t col, int64_t cols, float* y,
                      int64_t y_stride) const {
  const int32_t* listed = call_[columns].as<int32_t>();
  const int64_t k = call_[x].shape[1];
  float weights[kColumns * kTaskCols], values[kColumns];
  for (int64_t begin = 0; begin < count_; begin += kColumns) {
    const int64_t width = std::min(kColumns, count_ - begin);
    for (int64_t i = 0; i < width; ++i) {
      read_weights(listed[begin + i], col, cols, weights + i * kTaskCols);
    }
    for (int64_t r = 0; r < rows; ++r) {
      const float* from = call_[x].as<float>() + (row + r) * k;
      for (int64_t i = 0; i < width; ++i) {
        const float value = from[listed[begin + i]];
        values[i] = half_precision_ ? round_to_half(value) : value;
      }
      kernel_.rank_update(values, width, weights, kTaskCols, cols, y + r * y_stride);
    }
  }
}

}  // namespace fewbit::cpu
