// The op bitnet_quantize (src/ops/bitnet_quantize.h): a block to a row.
#pragma once

#include "../../src/ops/bitnet_quantize.h"
#include "../common/convert.cuh"
#include "../common/dependency.cuh"
#include "../common/reduce.cuh"
#include "quantize.h"

namespace fewbit::cuda::bitnet {

constexpr int kChunk = 8;  // columns that a thread treats at a time

template <class T>
struct alignas(16) Chunk {
  T value[kChunk];
};

// Vectors: rows of all operands start at multiples of 16 bytes and have a multiple of 8 columns.
template <bool Vectors, class T>
__device__ __forceinline__ Chunk<T> load_chunk(const T* row, int64_t column, int64_t cols) {
  if constexpr (Vectors) {
    return *reinterpret_cast<const Chunk<T>*>(row + column);
  } else {
    Chunk<T> chunk;
#pragma unroll
    for (int i = 0; i < kChunk; ++i) chunk.value[i] = column + i < cols ? row[column + i] : T{};
    return chunk;
  }
}

template <class T>
__device__ __forceinline__ void widen(float (&values)[kChunk], const Chunk<T>& chunk) {
#pragma unroll
  for (int i = 0; i < kChunk; ++i) values[i] = to_float(chunk.value[i]);
}
// By words: elements taken apart would need twice the registers.
__device__ __forceinline__ void widen(float (&values)[kChunk], const Chunk<__nv_bfloat16>& chunk) {
  const auto* words = reinterpret_cast<const uint32_t*>(&chunk);
#pragma unroll
  for (int i = 0; i < kChunk; i += 2) {
    values[i] = __uint_as_float(words[i / 2] << 16);
    values[i + 1] = __uint_as_float(words[i / 2] & 0xffff0000u);
  }
}

template <bool Vectors>
__device__ __forceinline__ void load_weights(float (&values)[kChunk], const Quantize& q,
                                             int64_t column) {
  const auto load = [&](const auto* weight) {
    widen(values, load_chunk<Vectors>(weight, column, q.cols));
  };
  switch (q.weight_dtype) {
    case DType::F16:
      return load(static_cast<const __half*>(q.weight));
    case DType::BF16:
      return load(static_cast<const __nv_bfloat16*>(q.weight));
    default:
      return load(static_cast<const float*>(q.weight));
  }
}

// Values times up, after their activation.
__device__ __forceinline__ void apply_gate(float (&values)[kChunk], const float (&up)[kChunk],
                                           Gate activation) {
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    values[i] = __fmul_rn(gate_value(values[i], activation), up[i]);
  }
}

// What eight values are made of: x, and up if there is one.
template <class T>
struct Ingredients {
  Chunk<T> x, up;
};

template <bool Vectors, class T>
__device__ __forceinline__ void load_ingredients(Ingredients<T>& in, const Quantize& q, int64_t row,
                                                 int64_t column) {
  in.x = load_chunk<Vectors>(static_cast<const T*>(q.x) + row * q.x_stride, column, q.cols);
  if (q.up) {
    in.up = load_chunk<Vectors>(static_cast<const T*>(q.up) + row * q.up_stride, column, q.cols);
  }
}

// v of the op's comment.
template <class T>
__device__ __forceinline__ void combine(float (&values)[kChunk], const Ingredients<T>& in,
                                        const Quantize& q) {
  widen(values, in.x);
  if (!q.up) return;
  float up[kChunk];
  widen(up, in.up);
  apply_gate(values, up, q.activation);
}

// w of the op's comment.
template <bool Vectors>
__device__ __forceinline__ void scale_by_norm(float (&values)[kChunk], const Quantize& q,
                                              int64_t column) {
  if (!q.weight) return;
  float weights[kChunk];
  load_weights<Vectors>(weights, q, column);
#pragma unroll
  for (int i = 0; i < kChunk; ++i) values[i] = __fmul_rn(values[i], weights[i]);
}

// What the row is summed up to before its codes are known.
struct RowStatistics {
  float squares;  // of v
  float largest;  // |w|, or NaN where one is
};

__device__ __forceinline__ void add_squares(RowStatistics& row, const float (&v)[kChunk]) {
#pragma unroll
  for (int i = 0; i < kChunk; ++i) row.squares = fmaf(v[i], v[i], row.squares);
}

// NaN if one of them is.
__device__ __forceinline__ float larger(float a, float b) {
  float result;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}

__device__ __forceinline__ void add_largest(RowStatistics& row, const float (&w)[kChunk]) {
#pragma unroll
  for (int i = 0; i < kChunk; ++i) row.largest = larger(row.largest, fabsf(w[i]));
}

// Of what reduce_row() left there, an element per warp. Whole warps call it.
template <int Threads>
__device__ __forceinline__ RowStatistics whole_row(const Quantize& q,
                                                   const RowStatistics* scratch) {
  constexpr int kWarps = Threads / 32;
  if constexpr (kWarps > 4) {
    const int lane = threadIdx.x % 32;
    RowStatistics all = lane < kWarps ? scratch[lane] : RowStatistics{0.0f, 0.0f};
    if (q.weight) all.squares = warp_reduce(all.squares, Sum{});
    all.largest = __uint_as_float(warp_max(__float_as_uint(all.largest)));
    return all;
  }
  RowStatistics all = scratch[0];
#pragma unroll
  for (int warp = 1; warp < kWarps; ++warp) {
    all.squares += scratch[warp].squares;
    all.largest = larger(all.largest, scratch[warp].largest);
  }
  return all;
}

// Every thread gets the result; scratch holds an element per warp. Without a norm nobody asks for the
// squares.
template <int Threads>
__device__ __forceinline__ RowStatistics reduce_row(RowStatistics own, const Quantize& q,
                                                    RowStatistics* scratch) {
  if (q.weight) own.squares = warp_reduce(own.squares, Sum{});
  // As bits: they order like the values, and NaN comes last.
  own.largest = __uint_as_float(warp_max(__float_as_uint(own.largest)));
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = own;
  __syncthreads();
  return whole_row<Threads>(q, scratch);
}

// How a row becomes codes.
struct RowScale {
  float inverse;  // what w is multiplied by
  bool broken;    // holds infinities or NaN: codes are 0

  __device__ __forceinline__ RowScale(const RowStatistics& row, const Quantize& q) {
    broken = !(row.largest < INFINITY && row.squares < INFINITY);
    float largest = row.largest;
    // The square root takes long and almost never matters.
    const float square = q.weight ? row.squares + q.eps * static_cast<float>(q.cols) : 1.0f;
    if (!(largest * largest > 1e-8f * square)) largest = fmaxf(largest, least(row, q));
    inverse = __fmul_rn(127.0f, __frcp_rn(largest));
  }

  // The op's.
  static __device__ __forceinline__ float scale(const RowStatistics& row, const Quantize& q) {
    const float root = root_of(row, q), largest = fmaxf(row.largest, least(row, q));
    return row.largest < INFINITY && root < INFINITY ? __fdiv_rn(largest, __fmul_rn(127.0f, root))
                                                     : __uint_as_float(0x7fffffffu);
  }

  // The codes of eight values, and their sum.
  __device__ __forceinline__ uint2 quantize(const float (&w)[kChunk], int32_t& sum) const {
    if (broken) return uint2{0, 0};
    uint32_t rounded[kChunk];
    // Adding 1.5 * 2^23 rounds to an integer, half to even, and leaves it in the lowest bits.
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      rounded[i] = __float_as_uint(__fadd_rn(__fmul_rn(w[i], inverse), 12582912.0f));
    }
    const auto pack = [&](int i) {
      return __byte_perm(__byte_perm(rounded[i], rounded[i + 1], 0x0040),
                         __byte_perm(rounded[i + 2], rounded[i + 3], 0x0040), 0x5410);
    };
    const uint2 packed{pack(0), pack(4)};
    sum = __dp4a(static_cast<int>(packed.x), 0x01010101, sum);
    sum = __dp4a(static_cast<int>(packed.y), 0x01010101, sum);
    return packed;
  }

 private:
  static __device__ __forceinline__ float root_of(const RowStatistics& row, const Quantize& q) {
    return q.weight ? __fsqrt_rn(row.squares / static_cast<float>(q.cols) + q.eps) : 1.0f;
  }
  static __device__ __forceinline__ float least(const RowStatistics& row, const Quantize& q) {
    return __fmul_rn(ops::bitnet::kSmallest, root_of(row, q));
  }
};

// The norm's weight towards L2 while the kernel before ends, which may have made it: read later.
__device__ __forceinline__ void prefetch_norm(const Quantize& q, int64_t column) {
  if (!q.weight || column >= q.cols) return;
  const auto* address =
      static_cast<const char*>(q.weight) + column * (q.weight_dtype == DType::F32 ? 4 : 2);
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

// Chunks: that a thread keeps in registers; 0 for a row of any length, which is read twice.
template <class T, int Threads, int Chunks, bool Vectors>
__global__ __launch_bounds__(Threads, Threads == 64 && sizeof(T) == 2
                                          ? 16
                                          : 1) void quantize_row(const Quantize q) {
  __shared__ RowStatistics scratch[Threads / 32];
  __shared__ int32_t code_sums[Threads / 32];
  constexpr bool kCached = Chunks > 0;
  constexpr int kHeld = kCached ? Chunks : 1;
  const int64_t row = blockIdx.x;
  const int64_t chunks = q.padded_cols / kChunk;
  start_successor();
  const auto for_each_chunk = [&](auto body) {
    if constexpr (kCached) {
#pragma unroll
      for (int i = 0; i < Chunks; ++i) {
        const int64_t chunk = int64_t{i} * Threads + threadIdx.x;
        if (chunk < chunks) body(i, chunk * kChunk);
      }
    } else {
      for (int64_t chunk = threadIdx.x; chunk < chunks; chunk += Threads) body(0, chunk * kChunk);
    }
  };
  for_each_chunk([&](int, int64_t column) { prefetch_norm(q, column); });
  wait_for_predecessor();

  Ingredients<T> in[kHeld];
  const auto load = [&](int i, int64_t column) {
    if (column < q.cols) load_ingredients<Vectors>(in[i], q, row, column);
  };
  if constexpr (kCached)
    for_each_chunk(load);  // all of them are under way before the first is used

  float cache[kHeld][kChunk];  // w
  RowStatistics own{0.0f, 0.0f};
  for_each_chunk([&](int i, int64_t column) {
    float(&values)[kChunk] = cache[i];
#pragma unroll
    for (int j = 0; j < kChunk; ++j) values[j] = 0.0f;
    if (column >= q.cols) return;
    if constexpr (!kCached) load(i, column);
    combine(values, in[i], q);
    if (q.weight) add_squares(own, values);
    scale_by_norm<Vectors>(values, q, column);
    add_largest(own, values);
  });
  const RowStatistics all = reduce_row<Threads>(own, q, scratch);
  const RowScale scale(all, q);

  int32_t code_sum = 0;
  for_each_chunk([&](int i, int64_t column) {
    float(&values)[kChunk] = cache[i];
    if constexpr (!kCached) {
#pragma unroll
      for (int j = 0; j < kChunk; ++j) values[j] = 0.0f;
      if (column < q.cols) {
        load_ingredients<Vectors>(in[i], q, row, column);
        combine(values, in[i], q);
        scale_by_norm<Vectors>(values, q, column);
      }
    }
    *reinterpret_cast<uint2*>(q.codes + row * q.padded_cols + column) =
        scale.quantize(values, code_sum);
  });
  code_sum = __reduce_add_sync(kFullWarp, code_sum);
  if (threadIdx.x % 32 == 0) code_sums[threadIdx.x / 32] = code_sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    int32_t total = code_sums[0];
#pragma unroll
    for (int warp = 1; warp < Threads / 32; ++warp) total += code_sums[warp];
    q.sums[row] = total;
    q.scales[row] = RowScale::scale(all, q);
  }
}

}  // namespace fewbit::cuda::bitnet
