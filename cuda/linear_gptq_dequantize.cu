// Rows of a GPTQ weight in 16 bits, for matrix products that know nothing of codes.
#include "common/convert.cuh"
#include "common/dependency.cuh"
#include "common/launch.h"
#include "gptq/codes.cuh"
#include "gptq/linear_gptq.h"

namespace fewbit::cuda::gptq {

namespace {

constexpr int kThreads = 256;
constexpr int kPositions = 8;  // per thread: 16 bytes of the result

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
      pair |= (top >> (first % 32 / 2) & twice(1)) << 2;
    }
    // 2^23 + code, whose low mantissa bits are the code.
    codes[i] = __uint_as_float(0x4b000000u | (pair & 0xffffu));
    codes[i + 1] = __uint_as_float(0x4b000000u | pair >> 16);
  }
}

template <class T, int Bits>
__global__ __launch_bounds__(kThreads) void dequantize_rows(const Weight w, int64_t first,
                                                            int64_t depth, T* to) {
  // The buffer may still be read by the product before.
  wait_for_predecessor();
  start_successor();
  const int begin = static_cast<int>(blockIdx.x * kThreads + threadIdx.x) * kPositions;
  if (begin >= depth) return;
  const int64_t row = first + blockIdx.y;
  float codes[kPositions];
  load_codes<Bits>(w.codes + row * w.row_bytes(Bits == 3 ? 2 : Bits),
                   Bits == 3 ? w.high + row * w.row_bytes(1) : nullptr, begin, codes);
  const bool one_group = w.groups == 1 || w.group_size % kPositions == 0;
  const auto positions = static_cast<int>(w.positions);
  Vector<T> values;
  float scale = 0, offset = 0;
#pragma unroll
  for (int i = 0; i < kPositions; ++i) {
    const int position = begin + i;
    if ((i == 0 || !one_group) && position < positions) {
      const int64_t at = row * w.groups + position / w.group_size;
      scale = load_float(w.scales, w.scales_dtype, at);
      offset = 8388608.0f + static_cast<float>(w.zeros[at]);
    }
    values.value[i] = position < positions ? from_float<T>(scale * (codes[i] - offset)) : T{};
  }
  store_vector(to + blockIdx.y * depth + begin, values);
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
  config.grid = dim3(static_cast<unsigned>(packs), static_cast<unsigned>(count));
  config.block = dim3(kThreads);
  config.overlap = true;
  with_half(linear.dtype, "linear_gptq: x", [&](auto zero) {
    using T = decltype(zero);
    launch(config, context, kernel_for<T>(linear.weight.bits), linear.weight, first, linear.depth,
           static_cast<T*>(to));
  });
}

}  // namespace fewbit::cuda::gptq
