#include "gptq.h"

#include <algorithm>
#include <cstring>

#include "../../ops/gptq_layout.h"

namespace fewbit::cpu::scalar {

namespace {

using ops::gptq::field_shift;
using ops::gptq::padded;

// The fields of `count` positions (a multiple of 32) from a plane, each shifted left and added.
template <int Width>
void add_plane(const uint8_t* plane, int64_t count, int shift, float* out) {
  constexpr int kPerWord = 32 / Width;
  constexpr uint32_t kMask = (1u << Width) - 1;
  const float unit = static_cast<float>(1 << shift);
  for (int64_t first = 0; first < count; first += kPerWord) {
    uint32_t word;
    std::memcpy(&word, plane + first * Width / 8, sizeof word);
    for (int i = 0; i < kPerWord; ++i) {
      const auto code = static_cast<int32_t>((word >> field_shift(i, Width)) & kMask);
      const float value = static_cast<float>(code) * unit;
      out[first + i] = shift ? out[first + i] + value : value;
    }
  }
}

void unpack(const GptqSpan& span, float* out) {
  const int64_t count = padded(span.count);
  switch (span.bits) {
    case 2:
      add_plane<2>(span.low, count, 0, out);
      break;
    case 3:
      add_plane<2>(span.low, count, 0, out);
      add_plane<1>(span.high, count, 2, out);
      break;
    case 4:
      add_plane<4>(span.low, count, 0, out);
      break;
    default:
      add_plane<8>(span.low, count, 0, out);
  }
}

}  // namespace

void dequantize_gptq(const GptqSpan& span, float* out) {
  unpack(span, out);
  int64_t end = span.first_group;
  for (int64_t i = 0, group = 0; i < span.count; ++group, end += span.group_size) {
    const float scale = span.scales[group], zero = span.zeros[group];
    // The difference is exact.
    for (; i < std::min(end, span.count); ++i) out[i] = scale * (out[i] - zero);
  }
}

}  // namespace fewbit::cpu::scalar
