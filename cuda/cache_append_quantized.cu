// cache_append_quantized on CUDA: see src/ops/cache_append_quantized.h. A warp treats one head of one
// row: it rotates it, finds its codes, and packs them word by word.
#include "../src/ops/cache_append_quantized.h"

#include "attention/rotary.cuh"
#include "common/cuda_op.h"
#include "common/reduce.cuh"
#include "kv/codes.cuh"

namespace fewbit::cuda {
namespace {

constexpr int kWarps = 4;

// Keys or values, and where their codes go.
struct Side {
  const void* x;
  const float* grid;  // null: dynamic
  uint32_t* cache;
  __half2* scales;
  int64_t stride;
};

struct Append {
  void* q;
  Side key, value;
  const int32_t* positions;
  const int32_t* slots;
  const float* rope;  // null: no rotation
  int64_t q_stride, rope_rows, cache_slots;
  int32_t rows, query_heads, kv_heads, dim, page_size, low_words, row_words;

  // Heads of a row that have anything to be done: those of q only turn.
  __host__ __device__ int turning() const { return rope ? query_heads : 0; }
  __host__ __device__ int heads() const { return turning() + 2 * kv_heads; }
};

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
  const __half2 pair{__float2half_rn(__fdiv_rn(most - least, kLargest)), __float2half_rn(least)};
  if (lane == 0) *scales = pair;
  const float scale = __low2float(pair), smallest = __high2float(pair);
  for (int i = lane; i < dim; i += 32) {
    const float code = scale > 0.0f ? rintf(__fdiv_rn(head[i] - smallest, scale)) : 0.0f;
    codes[i] = static_cast<uint8_t>(kv::clamp_code(code, kLargest));
  }
}

template <class T, int Bits>
__global__ void __launch_bounds__(kWarps * 32) append_kernel(const Append append) {
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
      const float code = kv::static_code(values[i], scales[i], zeros[i], kLargest);
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
    words[i] = kv::pack_word<Bits>(quads, i, append.low_words);
  }
}

void run(const OpCall& call, Context& context) {
  using namespace ops::cache_append_quantized;
  const TensorView& cache = call[key_cache];
  const int width = static_cast<int>(call.attrs[bits]);
  const int64_t kv_heads = cache.shape[1], dim = call[k].cols() / kv_heads;
  const auto side = [&](int x, int grid, int codes, int scales) {
    return Side{.x = call[x].data,
                .grid = call[grid].as<float>(),
                .cache = call[codes].as<uint32_t>(),
                .scales = call[scales].as<__half2>(),
                .stride = call[x].row_stride()};
  };
  const Append append{.q = call[q].data,
                      .key = side(k, key_grid, key_cache, key_scales),
                      .value = side(v, value_grid, value_cache, value_scales),
                      .positions = call[positions].as<int32_t>(),
                      .slots = call[slots].as<int32_t>(),
                      .rope = call[rope].as<float>(),
                      .q_stride = call[q].row_stride(),
                      .rope_rows = call[rope] ? call[rope].shape[0] : 0,
                      .cache_slots = cache.shape[0] * cache.shape[2],
                      .rows = static_cast<int32_t>(call[q].rows()),
                      .query_heads = static_cast<int32_t>(call[q].cols() / dim),
                      .kv_heads = static_cast<int32_t>(kv_heads),
                      .dim = static_cast<int32_t>(dim),
                      .page_size = static_cast<int32_t>(cache.shape[2]),
                      .low_words = static_cast<int32_t>(ops::kv::low_words(dim, width)),
                      .row_words = static_cast<int32_t>(ops::kv::row_bytes(dim, width) / 4)};
  if (append.rows == 0) return;
  with_float(call[q].dtype, [&](auto zero) {
    using T = decltype(zero);
    kv::with_width(width, [&](auto bits) {
      const int blocks = (append.heads() + kWarps - 1) / kWarps;
      // Rows lie along y, of which there are at most 65535.
      for (int first = 0; first < append.rows; first += 65535) {
        Append part = append;
        part.q = static_cast<T*>(append.q) + first * append.q_stride;
        part.key.x = static_cast<const T*>(append.key.x) + first * append.key.stride;
        part.value.x = static_cast<const T*>(append.value.x) + first * append.value.stride;
        part.positions += first;
        part.slots += first;
        launch({.name = "cache_append_quantized",
                .grid = dim3(blocks, std::min(append.rows - first, 65535)),
                .block = dim3(kWarps * 32),
                .shared_bytes = kWarps * (dim + 31) / 32 * 32 * (sizeof(float) + 1),
                .overlap = true},
               context, append_kernel<T, bits()>, part);
      }
    });
  });
}

const CudaOp op("cache_append_quantized", run);

}  // namespace
}  // namespace fewbit::cuda
