// Flash attention for many rows over a cache of few bits. Codes go through registers and become fp16
// rows in shared memory: static ones as whole numbers about the middle of their range, with the scales
// in the queries and the results (what the middle adds to the scores of a query is the same for all
// keys); dynamic ones as the values that they stand for.
#include <type_traits>

#include "../attention/prefill_block.cuh"
#include "problem.cuh"

namespace fewbit::cuda::kv {

namespace {

using attention::kPrefillRows;
using attention::kPrefillThreads;
using attention::PrefillShape;

// A thread's part of a row: every other chunk of eight codes.
template <int Bits, int Chunks>
struct RowPart {
  static constexpr int kUnits = 2 * Chunks;
  static constexpr int kLowPerUnit = Bits == 8 ? 2 : 1;
  uint32_t low[kUnits * kLowPerUnit];
  uint32_t high[Bits == 3 ? Chunks : 1];
  __half2 pair;  // of the token, where scales are dynamic

  static __device__ __forceinline__ int chunk_of(int unit, int side) { return 2 * unit + side; }

  // side is 0 or 1; chunks past the row's end read its last words.
  __device__ __forceinline__ void load(const uint8_t* row, int dim, int side) {
    const auto* words = reinterpret_cast<const uint32_t*>(row);
    const int last = dim / 8 - 1, low_words = static_cast<int>(ops::kv::low_words(dim, Bits));
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
      const int chunk = min(chunk_of(i, side), last);
      if constexpr (Bits == 8) {
        low[2 * i] = words[2 * chunk];
        low[2 * i + 1] = words[2 * chunk + 1];
      } else if constexpr (Bits == 4) {
        low[i] = words[chunk];
      } else {
        low[i] = words[chunk / 2];
        if (i % 2 == 0) high[i / 2] = words[low_words + chunk / 4];
      }
    }
  }

  // Codes of a unit, one in each byte: the first or the last four.
  __device__ __forceinline__ uint32_t bytes(int unit, int side, int last) const {
    if constexpr (Bits == 8) {
      return low[2 * unit + last];
    } else if constexpr (Bits == 4) {
      return low[unit] >> 4 * last & 0x0f0f0f0fu;
    } else {
      const uint32_t bottom = low[unit] >> (4 * side + 2 * last) & 0x03030303u;
      const int at = 4 * side + 2 * (unit % 2) + last;
      return bottom | (high[unit / 2] >> at & 0x01010101u) << 2;
    }
  }

  // The eight values of a unit. In a half with the exponent of 1024, a code is its own mantissa.
  template <bool Dynamic>
  __device__ __forceinline__ uint4 values(int unit, int side) const {
    constexpr uint32_t kExponent = 0x64646464u;
    constexpr float kMiddle = Dynamic ? 1024.0f : 1024.0f + (1 << (Bits - 1));
    const __half2 middle = __float2half2_rn(kMiddle);
    uint32_t out[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t codes = bytes(unit, side, i / 2);
      const uint32_t raised = __byte_perm(codes, kExponent, i % 2 ? 0x4342 : 0x4140);
      __half2 value = __hsub2(*reinterpret_cast<const __half2*>(&raised), middle);
      if constexpr (Dynamic) value = __hfma2(value, __low2half2(pair), __high2half2(pair));
      out[i] = *reinterpret_cast<const uint32_t*>(&value);
    }
    return {out[0], out[1], out[2], out[3]};
  }
};

template <int Bits, int Chunks, bool Dynamic>
struct CodedRows {
  using S = PrefillShape<Chunks>;
  using Part = RowPart<Bits, Chunks>;
  static_assert(kPrefillThreads == 2 * S::kKeys);

  const Problem& problem;
  int sequence = 0, kv_head = 0, last_key = 0;
  uint32_t row = 0;  // of this thread's key of the tile that is next
  Part keys{}, values{};

  __device__ __forceinline__ uint4 query(int of, int head, int chunk) const {
    uint32_t out[4];
    const int head_of_keys = head / problem.group;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float x[2];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int element = 8 * chunk + 2 * i + j;
        x[j] = problem.query_value(of, head, element);
        if (!Dynamic) x[j] *= problem.scale_of(problem.key_grid, head_of_keys, element);
      }
      out[i] = pack<__half>(x[0], x[1]);
    }
    return {out[0], out[1], out[2], out[3]};
  }

  __device__ __forceinline__ uint32_t look_up(int tile) const {
    const int key = min(tile * S::kKeys + static_cast<int>(threadIdx.x) / 2, last_key);
    return problem.cache_row(sequence, kv_head, key);
  }

  __device__ __forceinline__ void begin(int of, int head, int last) {
    sequence = of, kv_head = head, last_key = last;
    row = look_up(0);
  }

  __device__ __forceinline__ void start(int tile, uint32_t) {
    keys.load(problem.key_row(row), problem.dim, threadIdx.x % 2);
    values.load(problem.value_row(row), problem.dim, threadIdx.x % 2);
    if constexpr (Dynamic) {
      keys.pair = problem.key_scales[row];
      values.pair = problem.value_scales[row];
    }
    row = look_up(tile + 1);
  }

  __device__ __forceinline__ void finish(int, uint32_t stage) const {
    const int key = threadIdx.x / 2, side = threadIdx.x % 2;
#pragma unroll
    for (int i = 0; i < Part::kUnits; ++i) {
      const int chunk = Part::chunk_of(i, side);
      const bool exists = chunk < problem.dim / 8;
      const uint32_t to = stage + S::place(key, chunk);
      store_shared(to, exists ? keys.template values<Dynamic>(i, side) : uint4{});
      store_shared(to + S::kTileBytes, exists ? values.template values<Dynamic>(i, side) : uint4{});
    }
  }

  static __device__ __forceinline__ void store_shared(uint32_t address, const uint4& value) {
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(value.x),
                 "r"(value.y), "r"(value.z), "r"(value.w)
                 : "memory");
  }

  __device__ __forceinline__ void store(int of, int head, int element, float first,
                                        float second) const {
    const int head_of_keys = head / problem.group;
    const auto value = [&](float x, int at) {
      if (Dynamic) return x;
      constexpr float kMiddle = 1 << (Bits - 1);
      const float zero = problem.zero_of(problem.value_grid, head_of_keys, at);
      return problem.scale_of(problem.value_grid, head_of_keys, at) * (x + (kMiddle - zero));
    };
    const float a = value(first, element), b = value(second, element + 1);
    auto* to = reinterpret_cast<uint32_t*>(problem.result<uint16_t>(of, head) + element);
    *to = problem.dtype == DType::F16 ? pack<__half>(a, b) : pack<__nv_bfloat16>(a, b);
  }
};

template <int Bits, int Chunks, bool Dynamic>
__global__ void __launch_bounds__(kPrefillThreads, 2) prefill_kernel(const Problem problem) {
  extern __shared__ __align__(128) unsigned char shared[];
  __shared__ attention::RowTable<kPrefillRows> table;
  start_successor();
  wait_for_predecessor();
  CodedRows<Bits, Chunks, Dynamic> source{problem};
  attention::prefill_block<__half, Chunks>(problem, source, shared, table);
}

}  // namespace

bool fits_prefill(const Problem& problem) {
  const int64_t cache_rows = int64_t{problem.pages} * problem.kv_heads * problem.page_size;
  return problem.dtype != DType::F32 && problem.dim % 8 == 0 && problem.dim <= 128 &&
         cache_rows < (int64_t{1} << 32) && vector_aligned(problem.out, 0, 2);
}

void run_prefill(const Problem& problem, int bits, Context& context) {
  const unsigned row_blocks = (problem.rows + kPrefillRows - 1) / kPrefillRows;
  with_width(bits, [&](auto width) {
    const auto with_dim = [&](auto chunks) {
      const auto kernel = problem.key_grid ? prefill_kernel<width(), chunks(), false>
                                           : prefill_kernel<width(), chunks(), true>;
      launch({.name = "attention_quantized (prefill)",
              .grid = dim3(problem.query_heads, row_blocks),
              .block = dim3(kPrefillThreads),
              .shared_bytes = PrefillShape<chunks()>::kSharedBytes,
              .overlap = true},
             context, kernel, problem);
    };
    if (problem.dim <= 64) return with_dim(std::integral_constant<int, 2>{});
    with_dim(std::integral_constant<int, 4>{});
  });
}

}  // namespace fewbit::cuda::kv
