// Where bulk_matmul gets the codes of X from: as bitnet_quantize left them, or made by every block
// for itself. Either way they end up in shared memory.
#pragma once

#include "product.cuh"
#include "quantize_row.cuh"

namespace fewbit::cuda::bitnet {

struct StoredRows {
  static constexpr bool kUpdatesResidual = false;

  // Shared memory: the codes [rows, depth].
  static int64_t bytes(const Product& p) { return p.rows * p.depth; }

  template <int Threads>
  __device__ __forceinline__ void read_early(unsigned char*) const {}

  // Without a barrier at the end.
  template <int Threads, int Rows>
  __device__ __forceinline__ void stage(const Product& p, unsigned char* shared,
                                        RowTerms<Rows>& terms, RowStatistics*) const {
    const auto* from = reinterpret_cast<const uint4*>(p.codes);
    auto* to = reinterpret_cast<uint4*>(shared);
    const int count = static_cast<int>(p.rows * p.depth / 16);
#pragma unroll 4
    for (int i = threadIdx.x; i < count; i += Threads) to[i] = from[i];
    if (threadIdx.x < p.rows) {
      terms.scale[threadIdx.x] = p.scales[threadIdx.x];
      terms.code_sum[threadIdx.x] = p.sums[threadIdx.x];
    }
  }
};

__device__ __forceinline__ float2 widen_pair(uint32_t pair, __half) {
  return __half22float2(reinterpret_cast<const __half2&>(pair));
}
__device__ __forceinline__ float2 widen_pair(uint32_t pair, __nv_bfloat16) {
  return __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(pair));
}
__device__ __forceinline__ uint32_t narrow_pair(float first, float second, __half) {
  const __half2 pair = __floats2half2_rn(first, second);
  return reinterpret_cast<const uint32_t&>(pair);
}
__device__ __forceinline__ uint32_t narrow_pair(float first, float second, __nv_bfloat16) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
  return reinterpret_cast<const uint32_t&>(pair);
}

// One row, quantized by every block. It costs less than the launch that it saves: blocks do the same
// at the same time. The row suits vectors of 8; T has 16 bits. Held: the chunks of the row that a
// thread has in registers, which cover it.
template <class T, int Held>
struct QuantizedRow {
  static constexpr bool kUpdatesResidual = true;
  using Raw = uint4;  // eight values

  Quantize q;
  // Counts the blocks that have read the residual; zero between kernels.
  uint32_t* readers;

  // Shared memory: the codes, the norm's weight, the residual's sums.
  static int64_t bytes(const Quantize& q) { return q.padded_cols + 2 * q.cols * 2; }

  __device__ __forceinline__ Raw* norm_in(unsigned char* shared) const {
    return reinterpret_cast<Raw*>(shared + q.padded_cols);
  }
  __device__ __forceinline__ Raw* sums_in(unsigned char* shared) const {
    return norm_in(shared) + q.cols / kChunk;
  }
  // Whether the norm's weight was read early.
  __device__ __forceinline__ bool holds_norm() const {
    return q.weight && q.weight_dtype == q.dtype;
  }

  // What is complete before any kernel that may still run. A thread reads back only what it wrote.
  template <int Threads>
  __device__ __forceinline__ void read_early(unsigned char* shared) const {
    if (!holds_norm()) return;
    for (int i = threadIdx.x; i < q.cols / kChunk; i += Threads) {
      norm_in(shared)[i] = static_cast<const Raw*>(q.weight)[i];
    }
  }

  // Without a barrier at the end.
  template <int Threads, int Rows>
  __device__ __forceinline__ void stage(const Product&, unsigned char* shared,
                                        RowTerms<Rows>& terms, RowStatistics* scratch) const {
    const int width = static_cast<int>(q.cols / kChunk);
    const int padded_width = static_cast<int>(q.padded_cols / kChunk);
    const auto* x = static_cast<const Raw*>(q.x);
    const auto* other = static_cast<const Raw*>(q.up ? q.up : q.residual);
    Raw x_raw[Held], other_raw[Held];
#pragma unroll
    for (int i = 0; i < Held; ++i) {
      const int chunk = i * Threads + static_cast<int>(threadIdx.x);
      x_raw[i] = other_raw[i] = Raw{0, 0, 0, 0};
      if (chunk < width) x_raw[i] = x[chunk];
      if (other && chunk < width) other_raw[i] = other[chunk];
    }
    if (threadIdx.x == 0) terms.code_sum[0] = 0;
    RowStatistics own{0.0f, 0};
    float w[Held][kChunk];
#pragma unroll
    for (int i = 0; i < Held; ++i) {
      const int chunk = i * Threads + static_cast<int>(threadIdx.x);
      widen(w[i], x_raw[i]);
      if (other) combine(w[i], other_raw[i], shared, chunk, chunk < width);
      add_squares(own, w[i]);
      if (q.weight && chunk < width) {
        if (holds_norm()) {
          float weights[kChunk];
          widen(weights, norm_in(shared)[chunk]);
#pragma unroll
          for (int j = 0; j < kChunk; ++j) w[i][j] = __fmul_rn(w[i][j], weights[j]);
        } else {
          scale_by_norm<true>(w[i], q, int64_t{chunk} * kChunk);
        }
      }
      add_largest(own, w[i]);
    }
    const RowScale scale(reduce_row<Threads>(own, scratch), q);
    int32_t code_sum = 0;
#pragma unroll
    for (int i = 0; i < Held; ++i) {
      const int chunk = i * Threads + static_cast<int>(threadIdx.x);
      if (chunk < padded_width) {
        reinterpret_cast<uint2*>(shared)[chunk] = scale.quantize(w[i], code_sum);
      }
    }
    code_sum = __reduce_add_sync(kFullWarp, code_sum);
    if (threadIdx.x % 32 == 0 && code_sum) atomicAdd(&terms.code_sum[0], code_sum);
    if (threadIdx.x == 0) terms.scale[0] = scale.scale;
  }

  // By one thread after stage() and a barrier: this block will not read the residual again. Returns
  // how many blocks had said so before.
  __device__ __forceinline__ uint32_t done_reading() const {
    __threadfence();
    return atomicAdd(readers, 1u);
  }

  // By the last block to have read it: the residual is overwritten.
  template <int Threads>
  __device__ __forceinline__ void store_residual(unsigned char* shared) const {
    __threadfence();
    for (int i = threadIdx.x; i < q.cols / kChunk; i += Threads) {
      static_cast<Raw*>(q.residual)[i] = sums_in(shared)[i];
    }
    if (threadIdx.x == 0) *readers = 0;
  }

 private:
  __device__ __forceinline__ void widen(float (&values)[kChunk], const Raw& raw) const {
    const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = widen_pair(words[i], T{});
      values[2 * i] = pair.x;
      values[2 * i + 1] = pair.y;
    }
  }

  // The gated unit, or the residual's sum, which is kept for store_residual.
  __device__ __forceinline__ void combine(float (&values)[kChunk], const Raw& raw,
                                          unsigned char* shared, int chunk, bool there) const {
    float other[kChunk];
    widen(other, raw);
    if (q.up) {
#pragma unroll
      for (int i = 0; i < kChunk; ++i) {
        values[i] = __fmul_rn(gate_value(values[i], q.activation), other[i]);
      }
      return;
    }
    uint32_t sums[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      sums[i] =
          narrow_pair(other[2 * i] + values[2 * i], other[2 * i + 1] + values[2 * i + 1], T{});
    }
    const Raw packed{sums[0], sums[1], sums[2], sums[3]};
    if (there) sums_in(shared)[chunk] = packed;
    widen(values, packed);
  }
};

}  // namespace fewbit::cuda::bitnet
