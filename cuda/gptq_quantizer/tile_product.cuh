// Products of 64 x 64 tiles in double precision, on the tensor cores of GPUs that have such ones.
#pragma once

#include <cuda_runtime.h>

#include "../common/async_copy.cuh"

namespace fewbit::cuda::gptq_quantizer {

constexpr int kTile = 64;
constexpr int kTileThreads = 128;  // four warps, 32 x 32 each

// A square matrix of whole tiles, row-major.
struct TiledMatrix {
  double* data;
  int64_t tiles;  // along a side

  __host__ __device__ int64_t stride() const { return tiles * kTile; }
  __device__ double* tile(int64_t row, int64_t col) const {
    return data + (row * stride() + col) * kTile;
  }
};

// What a thread holds of a tile. d = fma of the warp-wide m8n8k4, where lane 4 g + t has
// a[g, t], b[t, g] and d[g, 2t], d[g, 2t + 1].
struct TileSums {
  double value[4][4][2] = {};

  // body(row, col, value) for each.
  template <class Body>
  __device__ __forceinline__ void for_each(Body&& body) const {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int first_row = warp / 2 * 32 + lane / 4, first_col = warp % 2 * 32 + lane % 4 * 2;
#pragma unroll
    for (int m = 0; m < 4; ++m) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) body(first_row + m * 8, first_col + n * 8 + i, value[m][n][i]);
      }
    }
  }
};

__device__ __forceinline__ void multiply_4(double (&d)[2], double left, double right) {
  asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%0,%1};"
               : "+d"(d[0]), "+d"(d[1])
               : "d"(left), "d"(right));
}

#if __CUDA_ARCH__ >= 900
// Eight of them at once, which is faster. left[k] holds rows g and g + 8 at 4 k + t.
__device__ __forceinline__ void multiply_16(double (&upper)[2], double (&lower)[2],
                                            const double (&left)[4][2], const double (&right)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f64.f64.f64.f64 {%0,%1,%2,%3}, "
      "{%4,%5,%6,%7,%8,%9,%10,%11}, {%12,%13,%14,%15}, {%0,%1,%2,%3};"
      : "+d"(upper[0]), "+d"(upper[1]), "+d"(lower[0]), "+d"(lower[1])
      : "d"(left[0][0]), "d"(left[0][1]), "d"(left[1][0]), "d"(left[1][1]), "d"(left[2][0]),
        "d"(left[2][1]), "d"(left[3][0]), "d"(left[3][1]), "d"(right[0]), "d"(right[1]),
        "d"(right[2]), "d"(right[3]));
}
#endif

// sums += A B for A [64, depth] and B [depth, 64], depth a multiple of 16, of matrices whose rows
// are stride apart. Transposed: right points to the rows of B^T.
template <bool Transposed>
class TileProduct {
 public:
  struct Shared {
    double left[2][kTile][20];
    double right[2][Transposed ? kTile : 16][Transposed ? 20 : kTile + 4];
  };
  // Strides above: lanes g, t of half a warp read [g][t] or [t][g], each from banks of its own.

  static __device__ void add(Shared& shared, const double* left, const double* right,
                             int64_t stride, int64_t depth, TileSums& sums) {
    copy_slab(shared, 0, left, right, stride, 0);
    const auto slabs = static_cast<int>(depth / kSlab);
    for (int slab = 0; slab < slabs; ++slab) {
      if (slab + 1 < slabs) {
        copy_slab(shared, (slab + 1) % 2, left, right, stride, int64_t{slab + 1} * kSlab);
        wait_copies<1>();
      } else {
        wait_copies<0>();
      }
      __syncthreads();
      multiply_slab(shared, slab % 2, sums);
      __syncthreads();
    }
  }

 private:
  static constexpr int kSlab = 16;

  // `rows` rows of `cols` doubles, a multiple of two, spread over the block.
  template <int Rows, int Cols, int Stride>
  static __device__ __forceinline__ void copy_part(double (&to)[Rows][Stride], const double* from,
                                                   int64_t stride) {
    constexpr int kPairs = Cols / 2;
#pragma unroll
    for (int i = threadIdx.x; i < Rows * kPairs; i += kTileThreads) {
      const int row = i / kPairs, col = i % kPairs * 2;
      copy_async<16>(&to[row][col], from + row * stride + col);
    }
  }

  static __device__ __forceinline__ void copy_slab(Shared& shared, int stage, const double* left,
                                                   const double* right, int64_t stride,
                                                   int64_t depth) {
    copy_part<kTile, kSlab>(shared.left[stage], left + depth, stride);
    if constexpr (Transposed) {
      copy_part<kTile, kSlab>(shared.right[stage], right + depth, stride);
    } else {
      copy_part<kSlab, kTile>(shared.right[stage], right + depth * stride, stride);
    }
    commit_copies();
  }

  // The lane's row of eight rows number m of the warp's part, its column of eight columns number n.
  static __device__ __forceinline__ double left_at(const Shared& shared, int stage, int m, int k) {
    return shared.left[stage][threadIdx.x / 64 * 32 + m * 8 + threadIdx.x % 32 / 4][k];
  }
  static __device__ __forceinline__ double right_at(const Shared& shared, int stage, int k, int n) {
    const int col = threadIdx.x / 32 % 2 * 32 + n * 8 + threadIdx.x % 32 / 4;
    return Transposed ? shared.right[stage][col][k] : shared.right[stage][k][col];
  }

  static __device__ __forceinline__ void multiply_slab(const Shared& shared, int stage,
                                                       TileSums& sums) {
    const int t = threadIdx.x % 4;
#if __CUDA_ARCH__ >= 900
    double right[4][4];
#pragma unroll
    for (int n = 0; n < 4; ++n) {
#pragma unroll
      for (int k = 0; k < 4; ++k) right[n][k] = right_at(shared, stage, k * 4 + t, n);
    }
#pragma unroll
    for (int m = 0; m < 4; m += 2) {
      double left[4][2];
#pragma unroll
      for (int k = 0; k < 4; ++k) {
#pragma unroll
        for (int i = 0; i < 2; ++i) left[k][i] = left_at(shared, stage, m + i, k * 4 + t);
      }
#pragma unroll
      for (int n = 0; n < 4; ++n)
        multiply_16(sums.value[m][n], sums.value[m + 1][n], left, right[n]);
    }
#else
#pragma unroll
    for (int k = 0; k < kSlab; k += 4) {
      double left[4], right[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        left[i] = left_at(shared, stage, i, k + t);
        right[i] = right_at(shared, stage, k + t, i);
      }
#pragma unroll
      for (int m = 0; m < 4; ++m) {
#pragma unroll
        for (int n = 0; n < 4; ++n) multiply_4(sums.value[m][n], left[m], right[n]);
      }
    }
#endif
  }
};

}  // namespace fewbit::cuda::gptq_quantizer
