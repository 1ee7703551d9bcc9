// Rows of a GPTQ weight in 16 bits, for matrix products that know nothing of codes.
#include "common/convert.cuh"
#include "common/dependency.cuh"
#include "common/launch.h"
#include "gptq/linear_gptq.h"

namespace fewbit::cuda::gptq {

namespace {

constexpr int kThreads = 256;
constexpr int kPositions = 8;  // per thread: 16 bytes of the result

// Code of a position within its row's planes.
template <int Bits>
__device__ __forceinline__ uint32_t code_at(const uint8_t* low, const uint8_t* high, int position) {
  constexpr int kWidth = Bits == 3 ? 2 : Bits, kPerWord = 32 / kWidth;
  const uint32_t word = reinterpret_cast<const uint32_t*>(low)[position / kPerWord];
  const int index = position % kPerWord;
  uint32_t code = word >> ops::gptq::field_shift(index, kWidth) & ((1u << kWidth) - 1);
  if (Bits == 3) {
    const uint32_t top = reinterpret_cast<const uint32_t*>(high)[position / 32];
    code |= (top >> ops::gptq::field_shift(position % 32, 1) & 1) << 2;
  }
  return code;
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
  const uint8_t* low = w.codes + row * w.row_bytes(Bits == 3 ? 2 : Bits);
  const uint8_t* high = Bits == 3 ? w.high + row * w.row_bytes(1) : nullptr;
  const bool one_group = w.groups == 1 || w.group_size % kPositions == 0;
  Vector<T> values;
  float scale = 0, zero = 0;
#pragma unroll
  for (int i = 0; i < kPositions; ++i) {
    const int position = begin + i;
    if (position >= w.positions) {
      values.value[i] = T{};
      continue;
    }
    if (i == 0 || !one_group) {
      const int64_t at = row * w.groups + position / w.group_size;
      scale = load_float(w.scales, w.scales_dtype, at);
      zero = static_cast<float>(w.zeros[at]);
    }
    const float code = static_cast<float>(code_at<Bits>(low, high, position));
    values.value[i] = from_float<T>(scale * (code - zero));
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
