// Appending to a cache of few bits. A warp treats one head of one row: it rotates it, finds its codes,
// and packs them word by word.
#include "append.h"

#include <algorithm>

#include "../attention/rotary.cuh"
#include "../common/dependency.cuh"
#include "../common/launch.h"
#include "../common/reduce.cuh"
#include "codes.cuh"

namespace fewbit::cuda::kv {

namespace {

constexpr int kWarps = 4;

// A lane's pairs of elements (i, i + dim / 2) of a head, the first kHeld of them in registers.
struct Pairs {
  static constexpr int kHeld = 2;
  float first[kHeld], second[kHeld];

  template <class T>
  __device__ __forceinline__ void load(const T* from, int half, int begin) {
#pragma unroll
    for (int j = 0; j < kHeld; ++j) {
      const int i = begin + 32 * j;
      first[j] = i < half ? to_float(from[i]) : 0.0f;
      second[j] = i < half ? to_float(from[half + i]) : 0.0f;
    }
  }

  // Rotated, where there are angles: the rotation is not rounded.
  __device__ __forceinline__ void store(float* to, int half, int begin, const float* angles) const {
#pragma unroll
    for (int j = 0; j < kHeld; ++j) {
      const int i = begin + 32 * j;
      if (i >= half) break;
      Pack<float, 1> a{first[j]}, b{second[j]};
      if (angles) rotate(a, b, angles + i, half);
      to[i] = a.value[0];
      to[half + i] = b.value[0];
    }
  }
};

// Codes between the smallest and the largest value of a head.
template <int Bits>
__device__ void find_codes(const float* head, int dim, __half2* scales, uint8_t* codes, int lane) {
  constexpr float kLargest = ops::kv::largest_code(Bits);
  float least = INFINITY, most = -INFINITY;
  for (int i = lane; i < dim; i += 32) {
    least = fminf(least, head[i]);
    most = fmaxf(most, head[i]);
  }
  least = -warp_reduce(-least, Max{});
  most = warp_reduce(most, Max{});
  const __half2 pair = scale_pair(least, most, kLargest);
  if (lane == 0) *scales = pair;
  for (int i = lane; i < dim; i += 32) {
    codes[i] = static_cast<uint8_t>(dynamic_code(head[i], pair, kLargest));
  }
}

template <class T, int Bits>
__global__ void __launch_bounds__(kWarps * 32) append_kernel(const CodeRows append) {
  constexpr float kLargest = ops::kv::largest_code(Bits);
  extern __shared__ float shared[];
  start_successor();
  wait_for_predecessor();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, dim = append.dim;
  const int row = blockIdx.y, unit = blockIdx.x * kWarps + warp;
  if (unit >= append.heads()) return;
  const bool turns = unit < append.turning();
  const int index = unit - append.turning();
  const bool is_key = index < append.kv_heads;
  const int head = turns ? unit : is_key ? index : index - append.kv_heads;
  const Side& side = is_key ? append.key : append.value;
  const T* from = turns ? static_cast<const T*>(append.q) + row * append.q_stride + head * dim
                        : static_cast<const T*>(side.x) + row * side.stride + head * dim;
  const int half = dim / 2;
  // These loads and those of the slot start together.
  Pairs pairs;
  pairs.load(from, half, lane);
  const int32_t slot = append.slots[row], position = append.positions[row];
  if (slot < 0 || slot >= append.cache_slots) return;
  if (append.rope && (position < 0 || position >= append.rope_rows)) return;
  const float* angles =
      append.rope && (turns || is_key) ? append.rope + int64_t{position} * dim : nullptr;
  // Values of a head, then its codes.
  const int padded = (dim + 31) / 32 * 32;
  float* values = shared + warp * (padded + padded / 4);
  auto* codes = reinterpret_cast<uint8_t*>(values + padded);
  pairs.store(values, half, lane, angles);
  for (int begin = lane + 32 * Pairs::kHeld; begin < half; begin += 32 * Pairs::kHeld) {
    pairs.load(from, half, begin);
    pairs.store(values, half, begin, angles);
  }
  __syncwarp();
  if (turns) {
    T* to = const_cast<T*>(from);
    for (int i = lane; i < dim; i += 32) to[i] = from_float<T>(values[i]);
    return;
  }
  const int64_t page = slot / append.page_size;
  const int64_t place =
      (page * append.kv_heads + head) * append.page_size + slot % append.page_size;
  if (side.grid) {
    const float* scales = side.grid + head * dim;
    const float* zeros = scales + append.kv_heads * dim;
    for (int i = lane; i < dim; i += 32) {
      const float code = static_code(values[i], scales[i], zeros[i], kLargest);
      codes[i] = static_cast<uint8_t>(code);
    }
  } else {
    find_codes<Bits>(values, dim, side.scales + place, codes, lane);
  }
  if (dim + lane < padded) codes[dim + lane] = 0;
  __syncwarp();
  const auto* quads = reinterpret_cast<const uint32_t*>(codes);
  uint32_t* words = side.cache + place * append.row_words;
  for (int i = lane; i < append.row_words; i += 32) {
    words[i] = pack_word<Bits>(quads, i, append.low_words);
  }
}

}  // namespace

void append_rows(const CodeRows& rows, DType dtype, int bits, Context& context) {
  if (rows.rows == 0) return;
  with_float(dtype, [&](auto zero) {
    using T = decltype(zero);
    with_width(bits, [&](auto width) {
      const int blocks = (rows.heads() + kWarps - 1) / kWarps;
      // Rows lie along y, of which there are at most 65535.
      for (int first = 0; first < rows.rows; first += 65535) {
        CodeRows part = rows;
        part.q = static_cast<T*>(rows.q) + first * rows.q_stride;
        part.key.x = static_cast<const T*>(rows.key.x) + first * rows.key.stride;
        part.value.x = static_cast<const T*>(rows.value.x) + first * rows.value.stride;
        part.positions += first;
        part.slots += first;
        launch({.name = "cache_append_quantized",
                .grid = dim3(blocks, std::min(rows.rows - first, 65535)),
                .block = dim3(kWarps * 32),
                .shared_bytes = kWarps * (rows.dim + 31) / 32 * 32 * (sizeof(float) + 1),
                .overlap = true},
               context, append_kernel<T, width()>, part);
      }
    });
  });
}

}  // namespace fewbit::cuda::kv
