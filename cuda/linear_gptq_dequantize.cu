// Rows of a GPTQ weight in 16 bits, for matrix products that know nothing of codes.
#include "common/convert.cuh"
#include "common/dependency.cuh"
#include "common/launch.h"
#include "gptq/codes.cuh"
#include "gptq/linear_gptq.h"

namespace fewbit::cuda::gptq {

namespace {

constexpr int kThreads = 256;
constexpr int kPositions = 8;  // at a time: 16 bytes of the result
constexpr int kRows = 4;       // per thread

// The codes of kPositions neighbouring positions of a row, as floats.
template <int Bits>
__device__ __forceinline__ void load_codes(const uint8_t* low, const uint8_t* high, int begin,
                                           float (&codes)[kPositions]) {
  constexpr int kWidth = Bits == 3 ? 2 : Bits;
  const auto* words = reinterpret_cast<const uint32_t*>(low);
#pragma unroll
  for (int i = 0; i < kPositions; i += 2) {
    // Both positions of a pair lie at the same bits, one in each half of a word.
    const int first = begin + i, index = first % (32 / kWidth) / 2;
    uint32_t pair = words[first * kWidth / 32] >> (index * kWidth) & twice((1u << kWidth) - 1);
    if constexpr (Bits == 3) {
      const uint32_t top = reinterpret_cast<const uint32_t*>(high)[first / 32];
      pair |= (top >> ops::gptq::high_bit(first % 32 / 2) & twice(1)) << 2;
    }
    // 2^23 + code, whose low mantissa bits are the code.
    codes[i] = __uint_as_float(0x4b000000u | (pair & 0xffffu));
    codes[i + 1] = __uint_as_float(0x4b000000u | pair >> 16);
  }
}

// The scales and zero points of a row's neighbouring positions.
class RowGrid {
 public:
  __device__ __forceinline__ RowGrid(const Weight& w, int64_t row, int group)
      : scale_(load_float(w.scales, w.scales_dtype, row * w.groups + group)),
        offset_(8388608.0f + static_cast<float>(w.zeros[row * w.groups + group])) {}

  // code: with 2^23 added
  __device__ __forceinline__ float weight(float code) const { return scale_ * (code - offset_); }

 private:
  float scale_, offset_;
};

template <class T, int Bits>
__global__ __launch_bounds__(kThreads) void dequantize_rows(const Weight w, int64_t first,
                                                            int64_t count, int64_t depth, T* to) {
  // The buffer may still be read by the product before.
  wait_for_predecessor();
  start_successor();
  const int begin = static_cast<int>(blockIdx.x * kThreads + threadIdx.x) * kPositions;
  if (begin >= depth) return;
  const auto positions = static_cast<int>(w.positions);
  const bool one_group = w.groups == 1 || w.group_size % kPositions == 0;
  const int group = min(begin / w.group_size, w.groups - 1);
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int64_t from = min(blockIdx.y * int64_t{kRows} + i, count - 1), row = first + from;
    float codes[kPositions];
    load_codes<Bits>(w.codes + row * w.row_bytes(Bits == 3 ? 2 : Bits),
                     Bits == 3 ? w.high + row * w.row_bytes(1) : nullptr, begin, codes);
    RowGrid grid(w, row, group);
    Vector<T> values;
#pragma unroll
    for (int j = 0; j < kPositions; ++j) {
      const int position = begin + j;
      if (j > 0 && !one_group && position < positions) {
        grid = RowGrid(w, row, position / w.group_size);
      }
      values.value[j] = position < positions ? from_float<T>(grid.weight(codes[j])) : T{};
    }
    store_vector(to + from * depth + begin, values);
  }
}

template <class T>
auto kernel_for(int bits) {
  return bits == 2   ? dequantize_rows<T, 2>
         : bits == 3 ? dequantize_rows<T, 3>
         : bits == 4 ? dequantize_rows<T, 4>
                     : dequantize_rows<T, 8>;
}

}  // namespace

void dequantize(const LinearGptq& linear, int64_t first, int64_t count, void* to,
                Context& context) {
  const int64_t packs = (linear.depth / kPositions + kThreads - 1) / kThreads;
  if (packs == 0) return;
  Launch config;
  config.name = "linear_gptq: dequantizing";
  config.grid =
      dim3(static_cast<unsigned>(packs), static_cast<unsigned>((count + kRows - 1) / kRows));
  config.block = dim3(kThreads);
  config.overlap = true;
  with_half(linear.dtype, "linear_gptq: x", [&](auto zero) {
    using T = decltype(zero);
    launch(config, context, kernel_for<T>(linear.weight.bits), linear.weight, first, count,
           linear.depth, static_cast<T*>(to));
  });
}

}  // namespace fewbit::cuda::gptq
