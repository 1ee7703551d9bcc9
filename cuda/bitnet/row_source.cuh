// Where bulk_matmul gets the codes of X from: as bitnet_quantize left them, or made by every block
// for itself. Either way they end up in shared memory.
#pragma once

#include "../common/hopper.cuh"
#include "product.cuh"
#include "quantize_row.cuh"

namespace fewbit::cuda::bitnet {

constexpr int kTileDepth = 256;  // of K in a warp's step: 64 columns for each of four lanes

// At least so many bytes that two neighbouring rows start in different halves of the banks.
__host__ __device__ constexpr int64_t spread(int64_t bytes) {
  return (bytes + 63) / 128 * 128 + 64;
}

// Of codes in shared memory. Lanes read four times 16 of their 64 columns: what four lanes read at a
// time lies side by side.
__host__ __device__ constexpr int code_row_bytes(int64_t depth) {
  return static_cast<int>(spread((depth + kTileDepth - 1) / kTileDepth * kTileDepth));
}
// The place of 16 codes among those of a row.
__device__ __forceinline__ int code_place(int sixteen) {
  return sixteen / 16 * 16 + sixteen % 4 * 4 + sixteen / 4 % 4;
}

// For add_paired, of words of four codes: the first of two, of which the other lies two words on. A chunk
// is what quantize_row.cuh calls one: half of 16 codes.
__device__ __forceinline__ int paired_place(int chunk) {
  const int sixteen = chunk / 2, piece = sixteen % 4;
  return sixteen / 16 * 64 + (piece / 2 * 2 + chunk % 2) * 16 + sixteen / 4 % 4 * 4 + piece % 2;
}

// A thread's own copies into shared memory, which it need not wait for until they are needed.
template <int Bytes>
__device__ __forceinline__ void copy_async(void* to, const void* from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(hopper::shared_address(to)),
               "l"(from), "n"(Bytes)
               : "memory");
}
__device__ __forceinline__ void copies_done() { asm volatile("cp.async.wait_all;" ::: "memory"); }

struct StoredRows {
  static constexpr int kRows = 8;
  static constexpr int kStageRows = 16;  // of W
  static constexpr int kBlocks = 2;      // at a time on a multiprocessor

  static int64_t bytes(const Product& p) { return p.rows * code_row_bytes(p.depth); }

  template <int Threads>
  __device__ __forceinline__ void read_early(unsigned char*) const {}

  // Without a barrier at the end. What it returns is for finish_stage().
  template <int Threads, int Rows>
  __device__ __forceinline__ int32_t stage(const Product& p, unsigned char* shared,
                                           RowTerms<Rows>& terms, RowStatistics*) const {
    const auto* from = reinterpret_cast<const uint4*>(p.codes);
    const int width = static_cast<int>(p.depth / 16), count = static_cast<int>(p.rows) * width;
#pragma unroll 4
    for (int i = threadIdx.x; i < count; i += Threads) {
      reinterpret_cast<uint4*>(
          shared + i / width * code_row_bytes(p.depth))[code_place(i % width)] = from[i];
    }
    if (threadIdx.x < p.rows) {
      terms.scale[threadIdx.x] = p.scales[threadIdx.x];
      terms.code_sum[threadIdx.x] = p.sums[threadIdx.x];
    }
    return 0;
  }

  template <int Threads, int Rows>
  __device__ __forceinline__ void finish_stage(RowTerms<Rows>&, const RowStatistics*,
                                               int32_t) const {}
};

// One row, quantized by every block. It costs less than the launch that it saves: blocks do the same
// at the same time. The row suits vectors of 8; T has 16 bits. Held: the chunks of the row that a
// thread has in registers, which cover it.
template <class T, int Held>
struct QuantizedRow {
  static constexpr int kRows = 1;
  // Of long rows of W a stage holds half a tile, or too few stages would fit.
  static constexpr bool kLong = Held > 3;
  static constexpr int kStageRows = kLong ? 8 : 16;
  static constexpr int kBlocks = kLong ? 1 : 2;

  Quantize q;

  // Shared memory: the codes, in the order of paired_place() and with zeros up to the end of the step
  // after the last; the norm's weight.
  __host__ __device__ __forceinline__ int code_bytes() const {
    return static_cast<int>((q.padded_cols + kTileDepth - 1) / kTileDepth + 1) * kTileDepth;
  }
  int64_t bytes() const { return code_bytes() + (holds_norm() ? 2 * q.cols : 0); }

  __device__ __forceinline__ Chunk<T>* norm_in(unsigned char* shared) const {
    return reinterpret_cast<Chunk<T>*>(shared + code_bytes());
  }
  // Whether the norm's weight was read early.
  __host__ __device__ __forceinline__ bool holds_norm() const {
    return !kLong && q.weight && q.weight_dtype == q.dtype;
  }

  // What is complete before any kernel that may still run. A thread reads back only what it wrote.
  template <int Threads>
  __device__ __forceinline__ void read_early(unsigned char* shared) const {
    // stage() writes codes over the first of them, behind a barrier.
    if (threadIdx.x < 2 * kTileDepth / 16) {
      reinterpret_cast<uint4*>(shared + code_bytes() - 2 * kTileDepth)[threadIdx.x] =
          uint4{0, 0, 0, 0};
    }
    if (!holds_norm()) return;
    for (int i = threadIdx.x; i < q.cols / kChunk; i += Threads) {
      copy_async<16>(norm_in(shared) + i, static_cast<const Chunk<T>*>(q.weight) + i);
    }
  }

  // Without a barrier at the end. Returns the sum of this thread's codes.
  template <int Threads, int Rows>
  __device__ __forceinline__ int32_t stage(const Product&, unsigned char* shared,
                                           RowTerms<Rows>& terms, RowStatistics* scratch) const {
    const int width = static_cast<int>(q.cols / kChunk);
    const int padded_width = static_cast<int>(q.padded_cols / kChunk);
    Ingredients<T> in[Held];
#pragma unroll
    for (int i = 0; i < Held; ++i) {
      const int chunk = i * Threads + static_cast<int>(threadIdx.x);
      if (chunk < width) load_ingredients<true>(in[i], q, 0, int64_t{chunk} * kChunk);
    }
    if (threadIdx.x == 0) terms.code_sum[0] = 0;
    copies_done();  // the norm's
    RowStatistics own{0.0f, 0.0f};
    float w[Held][kChunk] = {};
#pragma unroll
    for (int i = 0; i < Held; ++i) {
      const int chunk = i * Threads + static_cast<int>(threadIdx.x);
      if (chunk >= width) continue;
      combine(w[i], in[i], q);
      if (q.weight) add_squares(own, w[i]);
      if (holds_norm()) {
        float weights[kChunk];
        widen(weights, norm_in(shared)[chunk]);
#pragma unroll
        for (int j = 0; j < kChunk; ++j) w[i][j] = __fmul_rn(w[i][j], weights[j]);
      } else {
        scale_by_norm<true>(w[i], q, int64_t{chunk} * kChunk);
      }
      add_largest(own, w[i]);
    }
    const RowStatistics all = reduce_row<Threads>(own, q, scratch);
    const RowScale scale(all, q);
    int32_t code_sum = 0;
#pragma unroll
    for (int i = 0; i < Held; ++i) {
      const int chunk = i * Threads + static_cast<int>(threadIdx.x);
      if (chunk < padded_width) {
        const uint2 codes = scale.quantize(w[i], code_sum);
        uint32_t* to = reinterpret_cast<uint32_t*>(shared) + paired_place(chunk);
        to[0] = codes.x;
        to[2] = codes.y;
      }
    }
    return code_sum;
  }

  // Behind the barrier, while other warps begin to multiply: what only results need, and takes long.
  template <int Threads, int Rows>
  __device__ __forceinline__ void finish_stage(RowTerms<Rows>& terms, const RowStatistics* scratch,
                                               int32_t code_sum) const {
    code_sum = __reduce_add_sync(kFullWarp, code_sum);
    if (threadIdx.x % 32 == 0 && code_sum) atomicAdd(&terms.code_sum[0], code_sum);
    if (threadIdx.x >= 32) return;
    const RowStatistics all = whole_row<Threads>(q, scratch);
    if (threadIdx.x == 0) terms.scale[0] = RowScale::scale(all, q);
  }
};

}  // namespace fewbit::cuda::bitnet
