// What both quantizing kernels share: chunks of eight values, the arithmetic, the outlier list.
//
// A row's scale depends on all rows through the set of outlier columns, so the blocks of a launch have
// to meet once: those of a cluster at its barrier (quantize_cluster.cuh), those of a grid through
// device memory (quantize_rows.cuh).
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

// The same into shared memory, where a thread finds what it fetched itself after wait_fetched().
template <class T, bool Vectors>
__device__ __forceinline__ void fetch_chunk(const Quantize& q, int64_t row, int64_t chunk,
                                            Chunk<T>* to) {
  if constexpr (Vectors) {
    const int64_t column = chunk * kChunk;
    const auto* from = reinterpret_cast<const unsigned char*>(
        static_cast<const T*>(q.x) + (column < q.cols ? row * q.cols + column : 0));
#pragma unroll
    for (int i = 0; i < static_cast<int>(sizeof(Chunk<T>)); i += 16) {
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                       static_cast<uint32_t>(__cvta_generic_to_shared(to)) + i),
                   "l"(from + i), "r"(column < q.cols ? 16 : 0)
                   : "memory");
    }
  } else {
    *to = load_chunk<T, false>(q, row, chunk);
  }
}

__device__ __forceinline__ void wait_fetched() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// The largest of a chunk's absolute_bits, for which 16-bit values need not be widened one by one.
template <class T>
__device__ __forceinline__ uint32_t largest_bits(const Chunk<T>& chunk) {
  if constexpr (sizeof(T) == 2) {
    const auto& pairs = reinterpret_cast<const uint4&>(chunk);
    constexpr uint32_t kAbsolute = 0x7fff7fffu;
    const uint32_t largest = __vmaxu2(__vmaxu2(pairs.x & kAbsolute, pairs.y & kAbsolute),
                                      __vmaxu2(pairs.z & kAbsolute, pairs.w & kAbsolute));
    const auto bits = static_cast<uint16_t>(max(largest & 0xffffu, largest >> 16));
    return absolute_bits(to_float(reinterpret_cast<const T&>(bits)));
  } else {
    uint32_t largest = 0;
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      largest = max(largest, absolute_bits(to_float(chunk.value[i])));
    }
    return largest;
  }
}

// The largest absolute value of every column over several rows, as far as outliers go.
template <class T>
struct ColumnMaxima {
  Chunk<T> largest;
  bool nan;  // which then hides other values

  __device__ __forceinline__ ColumnMaxima() : nan(false) {
#pragma unroll
    for (int i = 0; i < kChunk; ++i) largest.value[i] = from_float<T>(0.0f);
  }
  __device__ __forceinline__ void add(const Chunk<T>& chunk) {
    if constexpr (sizeof(T) == 2) {
      auto& most = reinterpret_cast<uint4&>(largest);
      const auto& pairs = reinterpret_cast<const uint4&>(chunk);
      constexpr uint32_t kAbsolute = 0x7fff7fffu;
      most.x = __vmaxu2(most.x, pairs.x & kAbsolute);
      most.y = __vmaxu2(most.y, pairs.y & kAbsolute);
      most.z = __vmaxu2(most.z, pairs.z & kAbsolute);
      most.w = __vmaxu2(most.w, pairs.w & kAbsolute);
    } else {
#pragma unroll
      for (int i = 0; i < kChunk; ++i) {
        nan = nan || isnan(chunk.value[i]);
        largest.value[i] = fmaxf(largest.value[i], fabsf(chunk.value[i]));
      }
    }
  }
  // As integers, absolute values order like the values, with NaN last.
  __device__ __forceinline__ bool has_nan() const {
    return nan || largest_bits(largest) > 0x7f800000u;
  }
};

// Bit i: value i is an outlier. A NaN is none.
template <class T>
__device__ __forceinline__ uint32_t outlier_bits(const Chunk<T>& chunk, float threshold) {
  uint32_t bits = 0;
  if (__uint_as_float(largest_bits(chunk)) < threshold) return bits;
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    bits |= static_cast<uint32_t>(fabsf(to_float(chunk.value[i])) >= threshold) << i;
  }
  return bits;
}

// Sets the chunk's outliers in a mask of columns; words[0] begins with a chunk of number 0.
template <class T>
__device__ __forceinline__ void mark_outliers(uint32_t* words, int64_t chunk,
                                              const Chunk<T>& values, float threshold) {
  const uint32_t bits = outlier_bits(values, threshold);
  if (bits) atomicOr(&words[chunk / kChunksPerWord], bits << chunk % kChunksPerWord * kChunk);
}

// A chunk's eight bits of such a mask.
__device__ __forceinline__ uint32_t marked_columns(const uint32_t* words, int64_t chunk) {
  return words[chunk / kChunksPerWord] >> chunk % kChunksPerWord * kChunk & 0xffu;
}

// The largest of the values that count for the row's scale, as absolute_bits.
template <class T>
__device__ __forceinline__ uint32_t counted_max(const Quantize& q, const Chunk<T>& chunk,
                                                uint32_t outlier_columns) {
  // Values that are outliers are in columns that are.
  if (!outlier_columns) return largest_bits(chunk);
  const uint32_t left_out = q.bitsandbytes ? outlier_bits(chunk, q.threshold) : outlier_columns;
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

// Eight codes, one a byte.
template <class T>
__device__ __forceinline__ uint2 codes_of(const Chunk<T>& values, float inverse,
                                          uint32_t outlier_columns) {
  uint2 codes{0, 0};
  if (!(inverse > 0)) return codes;
  if (inverse < INFINITY) {
    // No product is beyond 127 but in outlier columns. Added to 1.5 * 2^23, it is rounded to an
    // integer, half to even, whose lowest byte is the code.
    uint32_t rounded[kChunk];
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      rounded[i] =
          __float_as_uint(__fadd_rn(__fmul_rn(to_float(values.value[i]), inverse), 12582912.0f));
    }
    const auto pack = [](const uint32_t* four) {
      return __byte_perm(__byte_perm(four[0], four[1], 0x0040),
                         __byte_perm(four[2], four[3], 0x0040), 0x5410);
    };
    codes = {pack(rounded), pack(rounded + 4)};
  } else {
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      const int rounded = __float2int_rn(to_float(values.value[i]) * inverse);
      const uint32_t code = static_cast<uint32_t>(max(-127, min(127, rounded))) & 0xffu;
      (i < 4 ? codes.x : codes.y) |= code << i % 4 * 8;
    }
  }
  if (outlier_columns) {
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      if (outlier_columns >> i & 1) (i < 4 ? codes.x : codes.y) &= ~(0xffu << i % 4 * 8);
    }
  }
  return codes;
}

template <class T, bool Vectors>
__device__ __forceinline__ void store_codes(const Quantize& q, int64_t row, int64_t chunk,
                                            const Chunk<T>& values, float inverse,
                                            uint32_t outlier_columns) {
  const int64_t column = chunk * kChunk;
  const uint2 codes = codes_of(values, inverse, outlier_columns);
  int8_t* to = q.codes + row * q.padded_cols + column;
  if constexpr (Vectors) {
    *reinterpret_cast<uint2*>(to) = codes;
  } else {
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      if (column + i < q.padded_cols) {
        to[i] = static_cast<int8_t>((i < 4 ? codes.x : codes.y) >> i % 4 * 8);
      }
    }
  }
}

// One warp writes the columns of a mask in ascending order; returns how many there are. Each lane takes
// neighbouring words.
__device__ __forceinline__ int write_columns(const uint32_t* words, int count, int32_t* columns) {
  const int lane = threadIdx.x % 32;
  const int each = (count + 31) / 32;
  const int begin = min(lane * each, count), end = min(begin + each, count);
  int found = 0;
  for (int i = begin; i < end; ++i) found += __popc(words[i]);
  const int before = warp_exclusive_sum(found, lane);
  int32_t* to = columns + before;
  for (int i = begin; i < end; ++i) {
    for (uint32_t word = words[i]; word; word &= word - 1) *to++ = i * 32 + __ffs(word) - 1;
  }
  return __shfl_sync(kFullWarp, before + found, 31);
}

__device__ __forceinline__ void write_count(const Quantize& q, int count) {
  if (q.count) *q.count = count;
  if (q.stats) {
    q.stats[0] += q.rows * (q.cols - count);
    q.stats[1] += q.rows * q.cols;
  }
}

}  // namespace fewbit::cuda::int8
