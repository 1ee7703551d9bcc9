// What both quantizing kernels share: chunks of eight values, the arithmetic, the outlier list.
#pragma once

#include "../common/convert.cuh"
#include "../common/dependency.cuh"
#include "../common/reduce.cuh"

namespace fewbit::cuda::int8 {

// The operands of the op int8_quantize (src/ops/int8_quantize.h).
struct Quantize {
  const void* x;
  int64_t rows, cols, padded_cols;
  int8_t* codes;
  float* scales;
  int32_t* columns;  // null without a threshold
  int32_t* count;
  long long* stats;  // may be null
  float threshold;
  bool bitsandbytes;
};

constexpr int kChunk = 8;  // values that a thread holds at a time
constexpr int kChunksPerWord = 4;

template <class T>
struct alignas(16) Chunk {
  T value[kChunk];
};

// Absolute values as bits: they order like the values, and NaN comes last.
__device__ __forceinline__ uint32_t absolute_bits(float value) {
  return __float_as_uint(value) & 0x7fffffffu;
}

// Vectors: rows of x start at multiples of 16 bytes and rows of codes at multiples of 8.
template <class T, bool Vectors>
__device__ __forceinline__ Chunk<T> load_chunk(const Quantize& q, int64_t row, int64_t chunk) {
  const int64_t column = chunk * kChunk;
  const T* from = static_cast<const T*>(q.x) + row * q.cols + column;
  Chunk<T> loaded;
  if constexpr (Vectors) {
    if (column < q.cols) return *reinterpret_cast<const Chunk<T>*>(from);
#pragma unroll
    for (int i = 0; i < kChunk; ++i) loaded.value[i] = from_float<T>(0.0f);
  } else {
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      loaded.value[i] = column + i < q.cols ? from[i] : from_float<T>(0.0f);
    }
  }
  return loaded;
}

// Bit i: value i is an outlier. A NaN is none.
template <class T>
__device__ __forceinline__ uint32_t outlier_bits(const Chunk<T>& chunk, float threshold) {
  uint32_t bits = 0;
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    bits |= static_cast<uint32_t>(fabsf(to_float(chunk.value[i])) >= threshold) << i;
  }
  return bits;
}

// The largest of the values that count for the row's scale, as absolute_bits.
template <class T>
__device__ __forceinline__ uint32_t counted_max(const Quantize& q, const Chunk<T>& chunk,
                                                uint32_t outlier_columns) {
  const uint32_t left_out =
      q.bitsandbytes && q.threshold > 0 ? outlier_bits(chunk, q.threshold) : outlier_columns;
  uint32_t largest = 0;
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    const uint32_t bits = absolute_bits(to_float(chunk.value[i]));
    if (!(left_out >> i & 1)) largest = max(largest, bits);
  }
  return largest;
}

// A row's scale; infinities and NaN end up as NaN.
__device__ __forceinline__ float scale_of(uint32_t max_bits) {
  return __uint_as_float(max_bits >= 0x7f800000u ? 0x7fffffffu : max_bits);
}

// What values are multiplied with. 0 gives the codes of a row without a usable scale.
__device__ __forceinline__ float inverse_of(float scale) {
  return scale > 0 ? __fdiv_rn(127.0f, scale) : 0.0f;
}

template <class T, bool Vectors>
__device__ __forceinline__ void store_codes(const Quantize& q, int64_t row, int64_t chunk,
                                            const Chunk<T>& values, float inverse,
                                            uint32_t outlier_columns) {
  const int64_t column = chunk * kChunk;
  union {
    int8_t code[kChunk];
    uint2 packed;
  };
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    const int rounded = __float2int_rn(to_float(values.value[i]) * inverse);
    code[i] = static_cast<int8_t>(outlier_columns >> i & 1 ? 0 : max(-127, min(127, rounded)));
  }
  int8_t* to = q.codes + row * q.padded_cols + column;
  if constexpr (Vectors) {
    *reinterpret_cast<uint2*>(to) = packed;
  } else {
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      if (column + i < q.padded_cols) to[i] = code[i];
    }
  }
}

// One warp writes the columns of words[0 .. count) in ascending order from columns[base] on;
// first_column belongs to bit 0 of words[0]. Returns base plus the number written.
__device__ __forceinline__ int write_columns(const uint32_t* words, int64_t count,
                                             int64_t first_column, int32_t* columns, int base) {
  const int lane = threadIdx.x % 32;
  for (int64_t first = 0; first < count; first += 32) {
    uint32_t word = first + lane < count ? words[first + lane] : 0;
    const int found = __popc(word);
    const int before = warp_exclusive_sum(found, lane);
    int32_t* to = columns + base + before;
    const int64_t column = first_column + (first + lane) * 32;
    for (; word; word &= word - 1) *to++ = static_cast<int32_t>(column + __ffs(word) - 1);
    base += __shfl_sync(kFullWarp, before + found, 31);
  }
  return base;
}

__device__ __forceinline__ void write_count(const Quantize& q, int count) {
  if (q.count) *q.count = count;
  if (q.stats) {
    q.stats[0] += q.rows * (q.cols - count);
    q.stats[1] += q.rows * q.cols;
  }
}

}  // namespace fewbit::cuda::int8
