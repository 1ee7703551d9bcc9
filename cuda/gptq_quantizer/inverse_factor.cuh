// Cholesky factor and inverse of it, in place and in double precision.
#pragma once

#include "../common/launch.h"
#include "tile_product.cuh"
#include "triangle.cuh"

namespace fewbit::cuda::gptq_quantizer {

namespace inverse_factor_kernels {

constexpr int kSide = 16;  // threads along a side of the tile that one block factors
constexpr int kEach = kTile / kSide;

// Replaces the diagonal tile by the inverse of its Cholesky factor, with zeros above the diagonal.
// Sets *failed where a pivot is not positive. Elimination of [A | I]: with A = L D L^T and unit
// diagonals of L it leaves L^-1 on the right, and D^-1/2 L^-1 is wanted. One barrier a column.
__global__ __launch_bounds__(kSide* kSide) void factor_diagonal(const TiledMatrix matrix,
                                                                int64_t step, int* failed) {
  __shared__ double column[2][kTile], row[2][kTile], pivots[kTile];
  if (*failed) return;
  const int ty = threadIdx.x / kSide, tx = threadIdx.x % kSide;
  double* tile = matrix.tile(step, step);
  double left[kEach][kEach], right[kEach][kEach];
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int r = ty + i * kSide, c = tx + j * kSide;
      left[i][j] = tile[max(r, c) * matrix.stride() + min(r, c)];
      right[i][j] = r == c ? 1.0 : 0.0;
    }
  }
#pragma unroll
  for (int part = 0; part < kEach; ++part) {
#pragma unroll 1
    for (int turn = 0; turn < kSide; ++turn) {
      const int at = part * kSide + turn, buffer = turn % 2;
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        if (tx == turn) column[buffer][ty + i * kSide] = left[i][part];
        if (ty == turn) row[buffer][tx + i * kSide] = right[part][i];
      }
      __syncthreads();
      const double pivot = column[buffer][at];
      if (!(pivot > 0) || !isfinite(pivot)) {  // the same for all threads
        if (threadIdx.x == 0) *failed = 1;
        return;
      }
      if (threadIdx.x == 0) pivots[at] = pivot;
      const double reciprocal = 1 / pivot;
#pragma unroll
      for (int i = part; i < kEach; ++i) {
        if (ty + i * kSide <= at) continue;
        const double factor = column[buffer][ty + i * kSide] * reciprocal;
#pragma unroll
        for (int j = 0; j < kEach; ++j) {
          if (j >= part) left[i][j] -= factor * column[buffer][tx + j * kSide];
          if (j <= part) right[i][j] -= factor * row[buffer][tx + j * kSide];
        }
      }
    }
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int r = ty + i * kSide;
    const double scale = 1 / sqrt(pivots[r]);
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      tile[r * matrix.stride() + tx + j * kSide] = right[i][j] * scale;
    }
  }
}

// The tiles below a diagonal one: L[i, step] = A[i, step] L[step, step]^-T.
__global__ __launch_bounds__(kTileThreads) void solve_panel(const TiledMatrix matrix, int64_t step,
                                                            const int* failed) {
  __shared__ TileProduct<true>::Shared shared;
  if (*failed) return;
  double* tile = matrix.tile(step + 1 + blockIdx.x, step);
  TileSums sums;
  TileProduct<true>::add(shared, tile, matrix.tile(step, step), matrix.stride(), kTile, sums);
  sums.for_each([&](int r, int c, double value) { tile[r * matrix.stride() + c] = value; });
}

// Takes what columns done .. done + depth of L say out of those from `first` on: of the first one
// alone, whose tiles are blockIdx.x, or of all, in the order of a triangle.
enum class Reach { Column, Triangle };

template <Reach Which>
__global__ __launch_bounds__(kTileThreads) void update_rest(const TiledMatrix matrix, int64_t done,
                                                            int64_t first, const int* failed) {
  __shared__ TileProduct<true>::Shared shared;
  if (*failed) return;
  Place place{blockIdx.x, 0};
  if constexpr (Which == Reach::Triangle) place = triangle_place(blockIdx.x);
  const int64_t row = first + place.row, col = first + place.col;
  TileSums sums;
  TileProduct<true>::add(shared, matrix.tile(row, done), matrix.tile(col, done), matrix.stride(),
                         (first - done) * kTile, sums);
  double* tile = matrix.tile(row, col);
  sums.for_each([&](int r, int c, double value) { tile[r * matrix.stride() + c] -= value; });
}

// Two inverses of `half` tiles each become one: [L1 0; B L2]^-1 = [X1 0; -X2 B X1, X2]. The half
// above the diagonal holds (B X1)^T in between. blockIdx.z counts the pairs of inverses.
struct Pair {
  int64_t first, half;
  __device__ Pair(int64_t half) : first(blockIdx.z * 2 * half), half(half) {}
  __device__ int64_t row() const { return first + half + blockIdx.y; }
  __device__ int64_t col() const { return first + blockIdx.x; }
};

__global__ __launch_bounds__(kTileThreads) void multiply_right(const TiledMatrix matrix,
                                                               int64_t half) {
  __shared__ TileProduct<false>::Shared shared;
  const Pair pair(half);
  if (pair.row() >= matrix.tiles) return;
  TileSums sums;
  TileProduct<false>::add(shared, matrix.tile(pair.row(), pair.col()),
                          matrix.tile(pair.col(), pair.col()), matrix.stride(),
                          (pair.first + half - pair.col()) * kTile, sums);
  double* tile = matrix.tile(pair.col(), pair.row());
  sums.for_each([&](int r, int c, double value) { tile[c * matrix.stride() + r] = value; });
}

__global__ __launch_bounds__(kTileThreads) void multiply_left(const TiledMatrix matrix,
                                                              int64_t half) {
  __shared__ TileProduct<true>::Shared shared;
  const Pair pair(half);
  if (pair.row() >= matrix.tiles) return;
  TileSums sums;
  TileProduct<true>::add(shared, matrix.tile(pair.row(), pair.first + half),
                         matrix.tile(pair.col(), pair.first + half), matrix.stride(),
                         (pair.row() + 1 - pair.first - half) * kTile, sums);
  double* tile = matrix.tile(pair.row(), pair.col());
  sums.for_each([&](int r, int c, double value) { tile[r * matrix.stride() + c] = -value; });
}

}  // namespace inverse_factor_kernels

// Columns of tiles that are factored before the rest is updated with all of them at once, which
// saves reading and writing it in between.
constexpr int64_t kPanel = 4;

// The lower triangle of the matrix becomes L, where A = L L^T, with the inverse of each diagonal
// tile in its place. Where A is not positive definite, *failed (0 before) is set and the triangle is
// of no use. Nothing waits for the GPU.
inline void factor_lower(const TiledMatrix& matrix, int* failed, Context& context) {
  using namespace inverse_factor_kernels;
  const dim3 threads(kTileThreads);
  const auto blocks = [](int64_t count) { return dim3(static_cast<unsigned>(count)); };
  for (int64_t step = 0; step < matrix.tiles; ++step) {
    const int64_t panel = step / kPanel * kPanel, rest = matrix.tiles - 1 - step;
    if (step > panel) {
      launch({.name = "gptq_factor: column", .grid = blocks(rest + 1), .block = threads}, context,
             update_rest<Reach::Column>, matrix, panel, step, failed);
    }
    launch({.name = "gptq_factor: diagonal", .block = dim3(kSide * kSide)}, context,
           factor_diagonal, matrix, step, failed);
    if (rest == 0) break;
    launch({.name = "gptq_factor: panel", .grid = blocks(rest), .block = threads}, context,
           solve_panel, matrix, step, failed);
    if (step + 1 == panel + kPanel) {
      launch({.name = "gptq_factor: update", .grid = blocks(triangle_size(rest)), .block = threads},
             context, update_rest<Reach::Triangle>, matrix, panel, step + 1, failed);
    }
  }
}

// After factor_lower: L becomes L^-1, doubling the size of the
// inverses each time. Overwrites what lies above the diagonal.
inline void invert_lower(const TiledMatrix& matrix, Context& context) {
  using namespace inverse_factor_kernels;
  const dim3 threads(kTileThreads);
  for (int64_t half = 1; half < matrix.tiles; half *= 2) {
    const auto side = static_cast<unsigned>(half);
    const dim3 grid(side, side, static_cast<unsigned>((matrix.tiles + half - 1) / (2 * half)));
    launch({.name = "gptq_factor: inverse", .grid = grid, .block = threads}, context,
           multiply_right, matrix, half);
    launch({.name = "gptq_factor: inverse", .grid = grid, .block = threads}, context, multiply_left,
           matrix, half);
  }
}

}  // namespace fewbit::cuda::gptq_quantizer
