#include "gptq_rows.h"

#include <algorithm>
#include <cstring>

namespace fewbit::cpu {

namespace {

using namespace ops::linear_gptq;
using ops::gptq::field_shift;
using ops::gptq::low_width;
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

}  // namespace

GptqRows::GptqRows(const OpCall& call, const float* scales)
    : call_(call),
      scales_(scales),
      bits_(static_cast<int>(call.attrs[bits])),
      group_size_(static_cast<int64_t>(call.attrs[group_size])) {}

void GptqRows::dequantize(int64_t row, int64_t begin, int64_t count, float* out) const {
  const auto plane = [&](int tensor, int width) {
    return call_[tensor].as<uint8_t>() + row * call_[tensor].cols() + begin * width / 8;
  };
  const uint8_t* low = plane(codes, low_width(bits_));
  switch (bits_) {
    case 2:
      add_plane<2>(low, padded(count), 0, out);
      break;
    case 3:
      add_plane<2>(low, padded(count), 0, out);
      add_plane<1>(plane(high, 1), padded(count), 2, out);
      break;
    case 4:
      add_plane<4>(low, padded(count), 0, out);
      break;
    default:
      add_plane<8>(low, padded(count), 0, out);
  }
  const int64_t groups = call_[scales].cols();
  int64_t j = 0;
  while (j < count) {
    const int64_t group = (begin + j) / group_size_;
    const int64_t end = std::min(count, (group + 1) * group_size_ - begin);
    const float scale = scales_[row * groups + group];
    const float zero = call_[zeros].as<uint8_t>()[row * groups + group];
    for (; j < end; ++j) out[j] = scale * (out[j] - zero);  // the difference is exact
  }
}

}  // namespace fewbit::cpu
