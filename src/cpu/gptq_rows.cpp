#include "gptq_rows.h"

#include <algorithm>

#include "kernels.h"

namespace fewbit::cpu {

namespace {

using namespace ops::linear_gptq;
using ops::gptq::kAlignment;
using ops::gptq::low_width;

constexpr float kUnitScale = 1;
constexpr uint8_t kNoZero = 0;

}  // namespace

GptqRows::GptqRows(const OpCall& call, const float* scales)
    : call_(call),
      dequantize_(kernels().dequantize_gptq),
      scales_(scales),
      bits_(static_cast<int>(call.attrs[bits])),
      group_size_(static_cast<int64_t>(call.attrs[group_size])) {}

bool GptqRows::aligned() const {
  return group_size_ % kAlignment == 0 || call_[scales].cols() <= 1;
}

GptqSpan GptqRows::span(int64_t row, int64_t begin, int64_t count) const {
  const int64_t groups = call_[scales].cols(), group = begin / group_size_;
  const auto plane = [&](int tensor, int width) {
    return call_[tensor].as<uint8_t>() + row * call_[tensor].cols() + begin * width / 8;
  };
  return {.bits = bits_,
          .low = plane(codes, low_width(bits_)),
          .high = bits_ == 3 ? plane(high, 1) : nullptr,
          .scales = scales_ + row * groups + group,
          .zeros = call_[zeros].as<uint8_t>() + row * groups + group,
          .count = count,
          .first_group = (group + 1) * group_size_ - begin,
          .group_size = group_size_};
}

void GptqRows::dequantize(int64_t row, int64_t begin, int64_t count, float* out) const {
  GptqSpan piece = span(row, begin, count);
  if (aligned()) return dequantize_(piece, out);
  // Groups begin within a word: the codes first, then the grids of their groups.
  const float* scale = piece.scales;
  const uint8_t* zero = piece.zeros;
  int64_t end = piece.first_group;
  piece.scales = &kUnitScale;
  piece.zeros = &kNoZero;
  piece.first_group = count;
  dequantize_(piece, out);
  for (int64_t i = 0; i < count; ++scale, ++zero, end += group_size_) {
    const float offset = *zero;
    for (; i < std::min(end, count); ++i) out[i] = *scale * (out[i] - offset);
  }
}

}  // namespace fewbit::cpu
