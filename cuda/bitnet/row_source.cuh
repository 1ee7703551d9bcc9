// Where bulk_matmul finds the codes of X: as bitnet_quantize left them, or made by every block for
// itself.
#pragma once

#include "product.cuh"
#include "quantize_row.cuh"

namespace fewbit::cuda::bitnet {

__device__ __forceinline__ float2 widen_pair(uint32_t pair, __half) {
  return __half22float2(reinterpret_cast<const __half2&>(pair));
}
__device__ __forceinline__ float2 widen_pair(uint32_t pair, __nv_bfloat16) {
  return __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(pair));
}
__device__ __forceinline__ uint32_t narrow_pair(float2 pair, __half) {
  const __half2 narrow = __floats2half2_rn(pair.x, pair.y);
  return reinterpret_cast<const uint32_t&>(narrow);
}
__device__ __forceinline__ uint32_t narrow_pair(float2 pair, __nv_bfloat16) {
  const __nv_bfloat162 narrow = __floats2bfloat162_rn(pair.x, pair.y);
  return reinterpret_cast<const uint32_t&>(narrow);
}

// Eight 16-bit values in four registers.
template <class T>
__device__ __forceinline__ void widen(float (&values)[kChunk], const uint4& raw) {
  const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = widen_pair(words[i], T{});
    values[2 * i] = pair.x;
    values[2 * i + 1] = pair.y;
  }
}

struct StoredRows {
  static constexpr bool kQuantizes = false;
  struct Early {};

  __device__ __forceinline__ const int8_t* codes(const Product& p, const unsigned char*) const {
    return p.codes;
  }
};

// Quantizes all rows in every block. It costs less than the launch that it saves while rows are few;
// blocks do the same work at the same time. Rows suit vectors of 8. Held: the chunks of a row that a
// thread has in registers, which cover it.
template <class T, int Held>
struct QuantizedRows {
  static constexpr bool kQuantizes = true;
  using Raw = uint4;  // eight values

  Quantize q;
  // Counts the blocks that have read the residual; zero between kernels.
  uint32_t* readers;

  // Shared memory: the codes [rows, padded_cols], then the residual's sums [rows, cols] of T.
  static __host__ __device__ int64_t bytes(const Quantize& q) {
    return q.rows * (q.padded_cols + (q.residual ? q.cols * static_cast<int64_t>(sizeof(T)) : 0));
  }
  __device__ __forceinline__ const int8_t* codes(const Product&, unsigned char* shared) const {
    return reinterpret_cast<const int8_t*>(shared);
  }
  __device__ __forceinline__ Raw* residual_sums(unsigned char* shared) const {
    return reinterpret_cast<Raw*>(shared + q.rows * q.padded_cols);
  }

  struct Early {
    Raw norm[Held];
  };

  __device__ __forceinline__ bool holds_norm() const { return q.weight && q.weight_dtype == q.dtype; }

  // The norm's weight, when it is complete before any kernel that may still run.
  template <int Threads>
  __device__ __forceinline__ void load_norm(Early& early) const {
#pragma unroll
    for (int i = 0; i < Held; ++i) {
      const int column = (i * Threads + static_cast<int>(threadIdx.x)) * kChunk;
      if (holds_norm() && column < q.cols) {
        early.norm[i] = *reinterpret_cast<const Raw*>(static_cast<const T*>(q.weight) + column);
      }
    }
  }

  // w of the op's comment from what a thread holds, all of which was loaded at once.
  __device__ __forceinline__ void combine(float (&values)[kChunk], RowStatistics& own, const Raw& x,
                                          const Raw& other, const Raw& norm, Raw* sum,
                                          int64_t column) const {
    widen<T>(values, x);
    if (q.up || q.residual) {
      float more[kChunk];
      widen<T>(more, other);
      if (q.up) {
#pragma unroll
        for (int i = 0; i < kChunk; ++i) {
          values[i] = __fmul_rn(gate(values[i], q.activation), more[i]);
        }
      } else {
        uint32_t total[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          total[i] = narrow_pair(float2{more[2 * i] + values[2 * i],
                                        more[2 * i + 1] + values[2 * i + 1]},
                                 T{});
        }
        *sum = uint4{total[0], total[1], total[2], total[3]};
        widen<T>(values, uint4{total[0], total[1], total[2], total[3]});
      }
    }
    add_squares(own, values);
    if (holds_norm()) {
      float weights[kChunk];
      widen<T>(weights, norm);
#pragma unroll
      for (int i = 0; i < kChunk; ++i) values[i] = __fmul_rn(values[i], weights[i]);
    } else {
      scale_by_norm<true>(values, q, column);
    }
    add_largest(own, values);
  }

  // Ends with the codes, scales and code_sums in shared memory, for all threads.
  template <int Threads>
  __device__ __forceinline__ void quantize(unsigned char* shared, float* scales, int32_t* code_sums,
                                           RowStatistics* scratch, const Early& early) const {
    const int chunks = static_cast<int>(q.padded_cols / kChunk);
#pragma unroll 1
    for (int row = 0; row < static_cast<int>(q.rows); ++row) {
      const T* x_row = static_cast<const T*>(q.x) + row * q.x_stride;
      const T* other_row = q.up ? static_cast<const T*>(q.up) + row * q.up_stride
                                : static_cast<const T*>(q.residual) + row * q.cols;
      Raw* sums = residual_sums(shared) + row * q.cols / kChunk;
      Raw x[Held], other[Held];
#pragma unroll
      for (int i = 0; i < Held; ++i) {
        const int column = (i * Threads + static_cast<int>(threadIdx.x)) * kChunk;
        if (column >= q.cols) continue;
        x[i] = *reinterpret_cast<const Raw*>(x_row + column);
        if (q.up || q.residual) other[i] = *reinterpret_cast<const Raw*>(other_row + column);
      }
      RowStatistics own{0.0f, 0};
      float held[Held][kChunk] = {};
#pragma unroll
      for (int i = 0; i < Held; ++i) {
        const int chunk = i * Threads + static_cast<int>(threadIdx.x);
        if (chunk * kChunk < q.cols) {
          combine(held[i], own, x[i], other[i], early.norm[i], sums + chunk, chunk * kChunk);
        }
      }
      const RowScale scale(reduce_row<Threads>(own, scratch + row % 2 * (Threads / 32)), q);
      int32_t code_sum = 0;
      uint2* codes = reinterpret_cast<uint2*>(shared + row * q.padded_cols);
#pragma unroll
      for (int i = 0; i < Held; ++i) {
        const int chunk = i * Threads + static_cast<int>(threadIdx.x);
        if (chunk < chunks) codes[chunk] = scale.quantize(held[i], code_sum);
      }
      code_sum = __reduce_add_sync(kFullWarp, code_sum);
      if (threadIdx.x % 32 == 0 && code_sum) atomicAdd(&code_sums[row], code_sum);
      if (threadIdx.x == 0) scales[row] = scale.scale;
    }
    __syncthreads();
  }

  // By one thread after quantize(): this block will not read the residual again. Returns how many
  // blocks had said so before.
  __device__ __forceinline__ uint32_t done_reading() const {
    __threadfence();
    return atomicAdd(readers, 1u);
  }

  // By the last block to have read it: the residual is overwritten.
  template <int Threads>
  __device__ __forceinline__ void store_residual(unsigned char* shared) const {
    __threadfence();
    const Raw* sums = residual_sums(shared);
    for (int64_t i = threadIdx.x; i < q.rows * q.cols / kChunk; i += Threads) {
      static_cast<Raw*>(q.residual)[i] = sums[i];
    }
    if (threadIdx.x == 0) *readers = 0;
  }
};

}  // namespace fewbit::cuda::bitnet
