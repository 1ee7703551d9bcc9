// X W^T for few rows of X: every weight byte is read once, straight into tensor-core fragments.
//
// A block owns 16 * RowTiles rows of W (the 16-row operand of the mma) and 8 * BatchTiles rows of X
// (the 8-column operand). Its warps split K; their sums meet in shared memory, in fixed order. A
// thread's 16 contiguous bytes of a row serve two mma steps: K is permuted alike for both operands,
// which changes no sum, so neither goes through shared memory. More rows of X than a block takes
// become more blocks, which makes this the fallback for any size.
#pragma once

#include "convert.cuh"
#include "dependency.cuh"
#include "launch.h"
#include "mma.cuh"

namespace fewbit::cuda {

constexpr int kStreamWarps = 8;

template <class T>
struct StreamOperands {
  const T* weight;      // [weight_rows, cols]
  const T* x;           // [rows, cols]
  int64_t weight_rows;  // at least the columns of the result
  int64_t rows;
  int64_t cols;
};

// 16 bytes of a row from element on; zeros past its end. Aligned: rows are multiples of 16 bytes.
// The volatile asm keeps loads in program order: all of a stage are under way before the first use.
template <bool Aligned, bool KeepInL1, class T>
__device__ __forceinline__ uint4 load_row_part(const T* row, int64_t element, int64_t cols) {
  uint4 loaded{0, 0, 0, 0};
  if constexpr (Aligned) {
    if (element < cols) {
      if constexpr (KeepInL1) {
        asm volatile("ld.global.v4.u32 {%0,%1,%2,%3}, [%4];"
                     : "=r"(loaded.x), "=r"(loaded.y), "=r"(loaded.z), "=r"(loaded.w)
                     : "l"(row + element));
      } else {
        asm volatile("ld.global.L1::no_allocate.L2::256B.v4.u32 {%0,%1,%2,%3}, [%4];"
                     : "=r"(loaded.x), "=r"(loaded.y), "=r"(loaded.z), "=r"(loaded.w)
                     : "l"(row + element));
      }
    }
  } else {
    Vector<T> values;
#pragma unroll
    for (int i = 0; i < kVectorSize<T>; ++i) {
      values.value[i] = element + i < cols ? row[element + i] : T{};
    }
    loaded = *reinterpret_cast<const uint4*>(&values);
  }
  return loaded;
}

// Brings a block's weights towards the L2 cache while the kernel before this one still runs. Unlike
// a load, a prefetch cannot see data that is about to be overwritten.
template <class T>
__device__ __forceinline__ void prefetch_rows(const T* rows, int64_t bytes) {
#if __CUDA_ARCH__ >= 900
  constexpr int64_t kPiece = 16 * 1024;
  const auto* from = reinterpret_cast<const char*>(rows);
  for (int64_t done = int64_t{threadIdx.x} * kPiece; done < bytes; done += blockDim.x * kPiece) {
    const auto size = static_cast<uint32_t>(min(kPiece, bytes - done));
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from + done), "r"(size)
                 : "memory");
  }
#endif
}

// Where the fragment layout of mma.cuh puts the result of a block's column and row, when every lane
// has stored its i-th sum at i * 32 + lane.
template <int BatchTiles>
__device__ __forceinline__ int fragment_index(int column, int row) {
  const int tile = column / 16 * BatchTiles + row / 8;
  return (tile * 4 + column % 16 / 8 * 2 + row % 2) * 32 + column % 8 * 4 + row % 8 / 2;
}

// Epilogue is a trivially copyable struct with
//   static constexpr int kWarps              further warps of the block, which run stage()
//   struct Shared                            what they leave in shared memory
//   void stage(Shared&, int64_t first_column, int64_t first_row, int thread) const
//   void store(const Shared&, int64_t column, int64_t row, int block_column, int block_row,
//              Accumulator) const
// for a block of kColumns x kRows results.
template <class T, int RowTiles, int BatchTiles, class Epilogue>
struct StreamShape {
  static constexpr int kColumns = RowTiles * 16;
  static constexpr int kRows = BatchTiles * 8;
  static constexpr int kThreads = (kStreamWarps + Epilogue::kWarps) * 32;
  using Accumulator = typename Mma<T>::Accumulator;
  struct Shared {
    Accumulator sums[kStreamWarps][kColumns * kRows];
    typename Epilogue::Shared epilogue;
  };
};

// Stage: 64-byte pieces of every row that a warp has under way at a time.
template <class T, int RowTiles, int BatchTiles, int Stage, bool Aligned, class Epilogue>
__global__ __launch_bounds__(StreamShape<T, RowTiles, BatchTiles, Epilogue>::kThreads,
                             RowTiles* BatchTiles <= 4
                                 ? 2
                                 : 1) void stream_matmul(const StreamOperands<T> p,
                                                         const Epilogue epilogue) {
  using Shape = StreamShape<T, RowTiles, BatchTiles, Epilogue>;
  using Accumulator = typename Shape::Accumulator;
  extern __shared__ __align__(16) unsigned char shared_bytes[];
  auto& shared = *reinterpret_cast<typename Shape::Shared*>(shared_bytes);

  constexpr int kPiece = 64 / sizeof(T);  // elements
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const int group = lane / 4, part = lane % 4;
  const int64_t first_column = int64_t{blockIdx.x} * Shape::kColumns;
  const int64_t first_row = int64_t{blockIdx.y} * Shape::kRows;

  if constexpr (Aligned) {
    const int64_t rows = min(int64_t{Shape::kColumns}, p.weight_rows - first_column);
    prefetch_rows(p.weight + first_column * p.cols,
                  rows * p.cols * static_cast<int64_t>(sizeof(T)));
  }
  wait_for_predecessor();
  start_successor();

  if (warp < kStreamWarps) {
    Accumulator sums[RowTiles][BatchTiles][4] = {};
    const T* weight_row[RowTiles][2];
#pragma unroll
    for (int tile = 0; tile < RowTiles; ++tile) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int64_t row = first_column + tile * 16 + half * 8 + group;
        weight_row[tile][half] = p.weight + min(row, p.weight_rows - 1) * p.cols;
      }
    }
    const T* x_row = p.x + (first_row + group) * p.cols;

    for (int64_t start = int64_t{warp} * Stage * kPiece; start < p.cols;
         start += int64_t{kStreamWarps} * Stage * kPiece) {
      const int64_t element = start + part * (16 / sizeof(T));
      uint4 weights[Stage][RowTiles][2];
#pragma unroll
      for (int piece = 0; piece < Stage; ++piece) {
#pragma unroll
        for (int tile = 0; tile < RowTiles; ++tile) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            weights[piece][tile][half] = load_row_part<Aligned, false>(
                weight_row[tile][half], element + piece * kPiece, p.cols);
          }
        }
      }
      uint4 x[Stage][BatchTiles];
#pragma unroll
      for (int piece = 0; piece < Stage; ++piece) {
#pragma unroll
        for (int tile = 0; tile < BatchTiles; ++tile) {
          x[piece][tile] = uint4{0, 0, 0, 0};
          if (first_row + tile * 8 + group < p.rows) {
            x[piece][tile] = load_row_part<Aligned, true>(x_row + int64_t{tile} * 8 * p.cols,
                                                          element + piece * kPiece, p.cols);
          }
        }
      }
#pragma unroll
      for (int piece = 0; piece < Stage; ++piece) {
#pragma unroll
        for (int row_tile = 0; row_tile < RowTiles; ++row_tile) {
          const uint4& upper = weights[piece][row_tile][0];
          const uint4& lower = weights[piece][row_tile][1];
#pragma unroll
          for (int tile = 0; tile < BatchTiles; ++tile) {
            const uint4& columns = x[piece][tile];
            Mma<T>::multiply(sums[row_tile][tile], upper.x, lower.x, upper.y, lower.y, columns.x,
                             columns.y);
            Mma<T>::multiply(sums[row_tile][tile], upper.z, lower.z, upper.w, lower.w, columns.z,
                             columns.w);
          }
        }
      }
    }
#pragma unroll
    for (int row_tile = 0; row_tile < RowTiles; ++row_tile) {
#pragma unroll
      for (int tile = 0; tile < BatchTiles; ++tile) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          shared.sums[warp][((row_tile * BatchTiles + tile) * 4 + i) * 32 + lane] =
              sums[row_tile][tile][i];
        }
      }
    }
  } else {
    epilogue.stage(shared.epilogue, first_column, first_row, thread - kStreamWarps * 32);
  }
  __syncthreads();

  for (int i = thread; i < Shape::kColumns * Shape::kRows; i += Shape::kThreads) {
    const int block_column = i % Shape::kColumns, block_row = i / Shape::kColumns;
    const int index = fragment_index<BatchTiles>(block_column, block_row);
    Accumulator sum = shared.sums[0][index];
#pragma unroll
    for (int w = 1; w < kStreamWarps; ++w) sum += shared.sums[w][index];
    if (first_row + block_row < p.rows) {
      epilogue.store(shared.epilogue, first_column + block_column, first_row + block_row,
                     block_column, block_row, sum);
    }
  }
}

template <int RowTiles, int BatchTiles, int Stage, bool Aligned, class T, class Epilogue>
void launch_stream(const char* name, const StreamOperands<T>& operands, const Epilogue& epilogue,
                   Context& context) {
  using Shape = StreamShape<T, RowTiles, BatchTiles, Epilogue>;
  Launch config;
  config.name = name;
  config.grid =
      dim3(static_cast<unsigned>((operands.weight_rows + Shape::kColumns - 1) / Shape::kColumns),
           static_cast<unsigned>((operands.rows + Shape::kRows - 1) / Shape::kRows));
  config.block = dim3(Shape::kThreads);
  static_assert(sizeof(typename Shape::Shared) <= kLeastSharedBytes);
  config.shared_bytes = sizeof(typename Shape::Shared);
  config.overlap = true;
  launch(config, context, stream_matmul<T, RowTiles, BatchTiles, Stage, Aligned, Epilogue>,
         operands, epilogue);
}

}  // namespace fewbit::cuda
