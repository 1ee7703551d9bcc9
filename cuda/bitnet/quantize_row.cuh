// The op bitnet_quantize (src/ops/bitnet_quantize.h): a block to a row.
#pragma once

#include "../../src/ops/bitnet_quantize.h"
#include "../common/convert.cuh"
#include "../common/dependency.cuh"
#include "../common/gate.cuh"
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
__device__ __forceinline__ void load_chunk(float (&values)[kChunk], const T* row, int64_t column,
                                           int64_t cols) {
  if constexpr (Vectors) {
    const auto loaded = *reinterpret_cast<const Chunk<T>*>(row + column);
#pragma unroll
    for (int i = 0; i < kChunk; ++i) values[i] = to_float(loaded.value[i]);
  } else {
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      values[i] = column + i < cols ? to_float(row[column + i]) : 0.0f;
    }
  }
}

template <bool Vectors>
__device__ __forceinline__ void load_weights(float (&values)[kChunk], const Quantize& q,
                                             int64_t column) {
  switch (q.weight_dtype) {
    case DType::F16:
      return load_chunk<Vectors>(values, static_cast<const __half*>(q.weight), column, q.cols);
    case DType::BF16:
      return load_chunk<Vectors>(values, static_cast<const __nv_bfloat16*>(q.weight), column,
                                 q.cols);
    default:
      return load_chunk<Vectors>(values, static_cast<const float*>(q.weight), column, q.cols);
  }
}

// v of the op's comment, and the sum that the residual becomes.
template <bool Vectors, class T>
__device__ __forceinline__ void load_values(float (&values)[kChunk], Chunk<T>& sum,
                                            const Quantize& q, int64_t row, int64_t column) {
  load_chunk<Vectors>(values, static_cast<const T*>(q.x) + row * q.x_stride, column, q.cols);
  if (q.up) {
    float up[kChunk];
    load_chunk<Vectors>(up, static_cast<const T*>(q.up) + row * q.up_stride, column, q.cols);
#pragma unroll
    for (int i = 0; i < kChunk; ++i)
      values[i] = __fmul_rn(gate_value(values[i], q.activation), up[i]);
  }
  if (q.residual) {
    float before[kChunk];
    load_chunk<Vectors>(before, static_cast<const T*>(q.residual) + row * q.cols, column, q.cols);
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      sum.value[i] = from_float<T>(before[i] + values[i]);
      values[i] = to_float(sum.value[i]);
    }
  }
}

template <bool Vectors, class T>
__device__ __forceinline__ void store_sum(const Chunk<T>& sum, const Quantize& q, int64_t row,
                                          int64_t column) {
  T* to = static_cast<T*>(q.residual) + row * q.cols + column;
  if constexpr (Vectors) {
    *reinterpret_cast<Chunk<T>*>(to) = sum;
  } else {
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      if (column + i < q.cols) to[i] = sum.value[i];
    }
  }
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
  float squares;
  uint32_t largest;  // the bits of |w|: they order like the values, and NaN comes last
};

__device__ __forceinline__ void add_squares(RowStatistics& row, const float (&v)[kChunk]) {
#pragma unroll
  for (int i = 0; i < kChunk; ++i) row.squares = fmaf(v[i], v[i], row.squares);
}

__device__ __forceinline__ void add_largest(RowStatistics& row, const float (&w)[kChunk]) {
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    row.largest = max(row.largest, __float_as_uint(w[i]) & 0x7fffffffu);
  }
}

// Every thread gets the result; scratch holds an element per warp.
template <int Threads>
__device__ __forceinline__ RowStatistics reduce_row(RowStatistics own, RowStatistics* scratch) {
  own.squares = warp_reduce(own.squares, Sum{});
  own.largest = warp_max(own.largest);
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = own;
  __syncthreads();
  RowStatistics all = scratch[0];
#pragma unroll
  for (int warp = 1; warp < Threads / 32; ++warp) {
    all.squares += scratch[warp].squares;
    all.largest = max(all.largest, scratch[warp].largest);
  }
  return all;
}

// How a row becomes codes.
struct RowScale {
  float inverse;  // what w is multiplied by
  float scale;    // the op's
  bool broken;    // holds infinities or NaN: codes are 0

  __device__ __forceinline__ RowScale(const RowStatistics& row, const Quantize& q) {
    const float root =
        q.weight ? __fsqrt_rn(row.squares / static_cast<float>(q.cols) + q.eps) : 1.0f;
    const float largest =
        fmaxf(__uint_as_float(row.largest), __fmul_rn(ops::bitnet::kSmallest, root));
    broken = row.largest >= 0x7f800000u || !(root < INFINITY);
    inverse = __fdiv_rn(127.0f, largest);
    scale = broken ? __uint_as_float(0x7fffffffu) : __fdiv_rn(largest, __fmul_rn(127.0f, root));
  }

  // The codes of eight values, and their sum.
  __device__ __forceinline__ uint2 quantize(const float (&w)[kChunk], int32_t& sum) const {
    union {
      int8_t code[kChunk];
      uint2 packed;
    };
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      const int rounded = broken ? 0 : __float2int_rn(__fmul_rn(w[i], inverse));
      code[i] = static_cast<int8_t>(max(-127, min(127, rounded)));
    }
    sum = __dp4a(static_cast<int>(packed.x), 0x01010101, sum);
    sum = __dp4a(static_cast<int>(packed.y), 0x01010101, sum);
    return packed;
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
__global__ __launch_bounds__(Threads) void quantize_row(const Quantize q) {
  __shared__ RowStatistics scratch[Threads / 32];
  __shared__ int32_t code_sums[Threads / 32];
  constexpr bool kCached = Chunks > 0;
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

  float cache[kCached ? Chunks : 1][kChunk];  // w
  RowStatistics own{0.0f, 0};
  for_each_chunk([&](int i, int64_t column) {
    float(&values)[kChunk] = cache[i];
#pragma unroll
    for (int j = 0; j < kChunk; ++j) values[j] = 0.0f;
    if (column >= q.cols) return;
    Chunk<T> sum;
    load_values<Vectors>(values, sum, q, row, column);
    if (q.residual) store_sum<Vectors>(sum, q, row, column);
    add_squares(own, values);
    scale_by_norm<Vectors>(values, q, column);
    add_largest(own, values);
  });
  const RowScale scale(reduce_row<Threads>(own, scratch), q);

  int32_t code_sum = 0;
  for_each_chunk([&](int i, int64_t column) {
    float(&values)[kChunk] = cache[i];
    if constexpr (!kCached) {
#pragma unroll
      for (int j = 0; j < kChunk; ++j) values[j] = 0.0f;
      if (column < q.cols) {
        Quantize again = q;
        if (q.residual) {
          again.x = q.residual;  // the sum, which this thread wrote
          again.x_stride = q.cols;
          again.residual = nullptr;
        }
        Chunk<T> none;
        load_values<Vectors>(values, none, again, row, column);
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
    q.scales[row] = scale.scale;
  }
}

}  // namespace fewbit::cuda::bitnet
