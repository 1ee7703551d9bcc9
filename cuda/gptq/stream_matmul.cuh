// X W^T with few-bit W for few rows of X: every code is read once, straight into tensor-core
// fragments.
//
// A block owns 16 * RowTiles rows of W (the 16-row operand of the mma) and 8 * BatchTiles rows of X
// (the 8-column operand). Its warps split K into pieces of 128 positions; their sums meet in shared
// memory, in fixed order. Of a piece a thread takes one chunk of 32 neighbouring positions, for W and
// for X alike: K is permuted in both operands, which changes no sum. What the tensor cores see is
// code - zero, exact in 16 bits; the sums of a piece are scaled in f32. Where groups are smaller than
// a piece (Fine), the scales go into the weights instead.
#pragma once

#include "../common/dependency.cuh"
#include "../common/mma.cuh"
#include "linear_gptq.h"
#include "unpacker.cuh"
#include "warp_sums.cuh"

namespace fewbit::cuda::gptq {

constexpr int kStreamWarps = 8;
constexpr int kStreamThreads = kStreamWarps * 32;
constexpr int kPiece = 4 * kChunk;

// A scale and a zero point as the kernel keeps them in shared memory.
template <class T, bool Fine>
struct Grid;

template <class T>
struct Grid<T, false> {
  float scale;
  uint32_t zero;

  __device__ __forceinline__ static Grid of(float scale, uint32_t zero) { return {scale, zero}; }
};

template <class T>
struct Grid<T, true> {
  uint32_t packed;

  __device__ __forceinline__ static Grid of(float scale, uint32_t zero) {
    return {(pair_of<T>(scale) & 0xffffu) | zero << 16};
  }
  __device__ __forceinline__ uint32_t scale_pair() const { return twice(packed & 0xffffu); }
};

template <class T>
__device__ __forceinline__ uint32_t zero_of(const Grid<T, false>& grid) {
  return grid.zero;
}
template <class T>
__device__ __forceinline__ uint32_t zero_of(const Grid<T, true>& grid) {
  return grid.packed >> 16;
}

template <class T, int RowTiles, int BatchTiles, bool Fine>
struct StreamShape {
  static constexpr int kColumns = RowTiles * 16;
  static constexpr int kRows = BatchTiles * 8;
  using Sums = WarpSums<kStreamWarps, kColumns, kRows>;
  static constexpr int kSumBytes = Sums::kBytes;
  static constexpr int kGridsPerPiece = Fine ? 4 : 1;

  // Grids that a warp keeps of a row, for its own pieces; odd, so that eight rows lie in different
  // banks.
  static constexpr __host__ __device__ int grid_stride(int pieces) {
    return (pieces + kStreamWarps - 1) / kStreamWarps * kGridsPerPiece | 1;
  }
  static constexpr size_t shared_bytes(int64_t positions) {
    const int pieces = static_cast<int>((positions + kPiece - 1) / kPiece);
    return kSumBytes +
           size_t{kStreamWarps} * kColumns * grid_stride(pieces) * sizeof(Grid<T, Fine>);
  }
};

// Keeps the compiler from computing a pointer anew wherever it is used.
template <class T>
__device__ __forceinline__ void keep(T*& pointer) {
  asm volatile("" : "+l"(pointer));
}

// 32 neighbouring elements of a row of X.
template <class T>
__device__ __forceinline__ void load_x(const T* from, uint32_t (&to)[kPairs]) {
#pragma unroll
  for (int i = 0; i < kPairs; i += 4) {
    asm volatile("ld.global.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[i]), "=r"(to[i + 1]), "=r"(to[i + 2]), "=r"(to[i + 3])
                 : "l"(from + i * 2));
  }
}

// The same with zeros from the count-th on, a multiple of 8.
template <class T>
__device__ __forceinline__ void load_x_part(const T* from, int64_t count, uint32_t (&to)[kPairs]) {
#pragma unroll
  for (int i = 0; i < kPairs; i += 4) {
    uint4 four{0, 0, 0, 0};
    if (i * 2 < count) four = *reinterpret_cast<const uint4*>(from + i * 2);
    to[i] = four.x;
    to[i + 1] = four.y;
    to[i + 2] = four.z;
    to[i + 3] = four.w;
  }
}

// to_group: from pieces (Fine: chunks) to groups.
template <class T, int Bits, int RowTiles, int BatchTiles, int Stage, bool Fine, int MinBlocks>
__global__ __launch_bounds__(kStreamThreads, MinBlocks) void stream_matmul(const LinearGptq p,
                                                                           const float to_group) {
  using Shape = StreamShape<T, RowTiles, BatchTiles, Fine>;
  extern __shared__ __align__(16) unsigned char shared_bytes[];
  auto* sums_of = reinterpret_cast<float*>(shared_bytes);  // [kStreamWarps][kColumns * kRows]

  const Weight& w = p.weight;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int group = lane / 4, part = lane % 4;
  const int64_t first_column = int64_t{blockIdx.x} * Shape::kColumns;
  const int64_t first_row = int64_t{blockIdx.y} * Shape::kRows;
  const int chunks = static_cast<int>((w.positions + kChunk - 1) / kChunk);
  const int pieces = (chunks + 3) / 4;
  const int stride = Shape::grid_stride(pieces);

  const uint8_t* low[RowTiles][2];
  const uint8_t* high[RowTiles][2];
#pragma unroll
  for (int tile = 0; tile < RowTiles; ++tile) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = min(first_column + tile * 16 + half * 8 + group, w.rows - 1);
      low[tile][half] = w.codes + row * w.row_bytes(plane_width(Bits));
      high[tile][half] = Bits == 3 ? w.high + row * w.row_bytes(1) : nullptr;
      keep(low[tile][half]);
      if constexpr (Bits == 3) keep(high[tile][half]);
    }
  }
  // A chunk past the end of a row is multiplied by zeros: any codes will do.
  const auto load = [&](int piece, Chunk<Bits>(&to)[RowTiles][2]) {
    const int chunk = min(piece * 4 + part, chunks - 1);
#pragma unroll
    for (int tile = 0; tile < RowTiles; ++tile) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        to[tile][half] = load_chunk<Bits>(low[tile][half], high[tile][half], chunk);
      }
    }
  };

  // Weights may be read before the wait: they are constants of a captured graph, and outside of one
  // the launch does not overlap.
  start_successor();
  Chunk<Bits> codes[Stage][RowTiles][2];
#pragma unroll
  for (int j = 0; j < Stage; ++j) {
    if (chunks > 0) load(warp + j * kStreamWarps, codes[j]);
  }
  auto* grids = reinterpret_cast<Grid<T, Fine>*>(shared_bytes + Shape::kSumBytes) +
                warp * Shape::kColumns * stride;
  const int own_pieces = (pieces - warp + kStreamWarps - 1) / kStreamWarps;
  const int own_grids = Shape::kColumns * own_pieces * Shape::kGridsPerPiece;
  // Several under way at a time.
  constexpr int kBatch = 4;
  for (int first = lane; first < own_grids; first += 32 * kBatch) {
    float scales[kBatch];
    uint32_t zeros[kBatch];
    with_scales(w, [&](const auto* from) {
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int index = min(first + i * 32, own_grids - 1);
        const int row = index % Shape::kColumns, own = index / Shape::kColumns;
        const int piece = warp + own / Shape::kGridsPerPiece * kStreamWarps;
        const int unit = Fine ? min(piece * 4 + own % 4, chunks - 1) : piece;
        const int at = static_cast<int>(min(first_column + row, w.rows - 1)) * w.groups +
                       static_cast<int>((static_cast<float>(unit) + 0.5f) * to_group);
        scales[i] = to_float(from[at]);
        zeros[i] = w.zeros[at];
      }
    });
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int index = min(first + i * 32, own_grids - 1);
      grids[index % Shape::kColumns * stride + index / Shape::kColumns] =
          Grid<T, Fine>::of(scales[i], zeros[i]);
    }
  }
  __syncwarp();
  wait_for_predecessor();

  // Rows past the last repeat it; their sums go nowhere.
  const T* x[BatchTiles];
#pragma unroll
  for (int tile = 0; tile < BatchTiles; ++tile) {
    x[tile] = static_cast<const T*>(p.x) + min(first_row + tile * 8 + group, p.rows - 1) * p.depth +
              part * kChunk;
    keep(x[tile]);
  }
  const int whole_pieces = static_cast<int>(p.depth / kPiece);
  uint32_t columns[BatchTiles][kPairs];
  const auto load_columns = [&](int piece) {
#pragma unroll
    for (int tile = 0; tile < BatchTiles; ++tile) {
      const T* from = x[tile] + piece * kPiece;
      if (piece < whole_pieces) {
        load_x(from, columns[tile]);
      } else {
        load_x_part(from, p.depth - (piece * kPiece + part * kChunk), columns[tile]);
      }
    }
  };
  if (warp < pieces) load_columns(warp);

  grids += group * stride + (Fine ? part : 0);

  float sums[RowTiles][BatchTiles][4] = {};
  for (int first = warp; first < pieces; first += Stage * kStreamWarps) {
#pragma unroll
    for (int j = 0; j < Stage; ++j) {
      const int piece = first + j * kStreamWarps;
      if (piece >= pieces) break;
#pragma unroll
      for (int row_tile = 0; row_tile < RowTiles; ++row_tile) {
        const Grid<T, Fine> upper_grid = grids[row_tile * 16 * stride];
        const Grid<T, Fine> lower_grid = grids[(row_tile * 16 + 8) * stride];
        uint32_t upper[kPairs], lower[kPairs];
        Unpacker<T, Bits>(zero_of<T>(upper_grid))(codes[j][row_tile][0], upper);
        Unpacker<T, Bits>(zero_of<T>(lower_grid))(codes[j][row_tile][1], lower);
        if constexpr (Fine) {
#pragma unroll
          for (int i = 0; i < kPairs; ++i) {
            upper[i] = multiply(upper[i], upper_grid.scale_pair(), T{});
            lower[i] = multiply(lower[i], lower_grid.scale_pair(), T{});
          }
        }
#pragma unroll
        for (int tile = 0; tile < BatchTiles; ++tile) {
          float fresh[4] = {};
          auto& sum = sums[row_tile][tile];
          auto& target = Fine ? sum : fresh;
#pragma unroll
          for (int i = 0; i < kPairs; i += 2) {
            Mma<T>::multiply(target, upper[i], lower[i], upper[i + 1], lower[i + 1],
                             columns[tile][i], columns[tile][i + 1]);
          }
          if constexpr (!Fine) {
            sum[0] = fmaf(fresh[0], upper_grid.scale, sum[0]);
            sum[1] = fmaf(fresh[1], upper_grid.scale, sum[1]);
            sum[2] = fmaf(fresh[2], lower_grid.scale, sum[2]);
            sum[3] = fmaf(fresh[3], lower_grid.scale, sum[3]);
          }
        }
      }
      grids += Shape::kGridsPerPiece;
      // Last, so that codes are unpacked only where the products above take them.
      if (piece + kStreamWarps < pieces) load_columns(piece + kStreamWarps);
      if (piece + Stage * kStreamWarps < pieces) load(piece + Stage * kStreamWarps, codes[j]);
    }
  }

  Shape::Sums::put(sums, sums_of);
  __syncthreads();
  Shape::Sums::store(p, sums_of, first_column, first_row);
}

}  // namespace fewbit::cuda::gptq
