// X W^T for up to 16 rows of X at the speed of memory: like stream_matmul.cuh, but blocks are
// persistent and every thread has its next weights under way in a ring in shared memory, so that
// reading goes on while a tile's sums are put together.
//
// A thread copies exactly the 16-byte parts that it multiplies itself, so the ring needs no
// synchronisation between threads and has no bank conflicts.
#pragma once

#include <algorithm>

#include "launch.h"
#include "stream_matmul.cuh"

namespace fewbit::cuda {

template <class T, int RowTiles, int BatchTiles, int Warps, int Depth, bool Resident,
          class EpilogueType>
struct RingShape {
  using Operand = T;
  using Epilogue = EpilogueType;
  using Accumulator = typename Mma<T>::Accumulator;
  static constexpr int kRowTiles = RowTiles;
  static constexpr int kBatchTiles = BatchTiles;
  static constexpr int kWarps = Warps;
  static constexpr int kDepth = Depth;         // pieces in a warp's ring
  static constexpr bool kResident = Resident;  // X stays in shared memory; else it is in the ring
  static constexpr int kColumns = RowTiles * 16;
  static constexpr int kRows = BatchTiles * 8;
  static constexpr int kThreads = (Warps + Epilogue::kWarps) * 32;
  static constexpr int kWeightParts = RowTiles * 2;  // 16-byte parts of a thread in a piece
  static constexpr int kParts = kWeightParts + (Resident ? 0 : BatchTiles);
  static constexpr int kPartBytes = 512;  // of a warp

  struct alignas(16) Shared {  // the ring follows
    Accumulator sums[2][Warps][kColumns * kRows];
    typename Epilogue::Shared epilogue[2];
  };
};

struct RingLayout {
  int tiles;        // of kColumns results
  int warp_pieces;  // 64-byte pieces of a row that a warp has in a tile; even
};

__device__ __forceinline__ void copy_part(uint32_t to, const void* from, bool present) {
  asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(present ? 16 : 0)
               : "memory");
}

__device__ __forceinline__ uint4 load_shared_part(uint32_t from) {
  uint4 part;
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(part.x), "=r"(part.y), "=r"(part.z), "=r"(part.w)
               : "r"(from)
               : "memory");
  return part;
}

// Shape is a RingShape; Epilogue: see stream_matmul.cuh. p.rows is at most kRows, and rows are
// multiples of 16 bytes.
template <class Shape>
__global__ __launch_bounds__(Shape::kThreads, 1) void ring_matmul(
    const StreamOperands<typename Shape::Operand> p, const RingLayout layout,
    const typename Shape::Epilogue epilogue) {
  using T = typename Shape::Operand;
  using Accumulator = typename Shape::Accumulator;
  constexpr int RowTiles = Shape::kRowTiles, BatchTiles = Shape::kBatchTiles;
  constexpr int kWarps = Shape::kWarps, kDepth = Shape::kDepth, kParts = Shape::kParts;
  extern __shared__ __align__(16) unsigned char shared_bytes[];
  auto& shared = *reinterpret_cast<typename Shape::Shared*>(shared_bytes);

  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const int group = lane / 4, part = lane % 4;
  const int step = static_cast<int>(gridDim.x);
  const auto* weight = reinterpret_cast<const char*>(p.weight);
  const auto* x = reinterpret_cast<const char*>(p.x);
  const int64_t row_bytes = p.cols * static_cast<int64_t>(sizeof(T));

  for (int ahead = 0; ahead < 2; ++ahead) {
    const int64_t row = (blockIdx.x + int64_t{ahead} * step) * Shape::kColumns;
    const int64_t rows = min(int64_t{Shape::kColumns}, p.weight_rows - row);
    if (rows > 0) prefetch_rows(weight + row * row_bytes, rows * row_bytes);
  }
  wait_for_predecessor();
  start_successor();

  const auto ring = static_cast<uint32_t>(__cvta_generic_to_shared(shared_bytes + sizeof(shared)));
  const uint32_t first_slot = ring + warp * kDepth * kParts * Shape::kPartBytes + lane * 16;
  const uint32_t first_x =
      ring + kWarps * kDepth * kParts * Shape::kPartBytes +
      warp * layout.warp_pieces * BatchTiles * Shape::kPartBytes + lane * 16;
  // Pairs of pieces, 128 bytes of a row, go round the warps.
  const auto byte_of = [&](int piece) {
    return int64_t{piece / 2 * kWarps * 2 + warp * 2 + piece % 2} * 64 + part * 16;
  };
  const auto copy_x = [&](uint32_t to, int piece) {
    const int64_t byte = byte_of(piece);
#pragma unroll
    for (int tile = 0; tile < BatchTiles; ++tile) {
      const int64_t row = tile * 8 + group;
      const bool present = byte < row_bytes && row < p.rows;
      copy_part(to + tile * Shape::kPartBytes, present ? x + row * row_bytes + byte : x,
                      present);
    }
  };

  // The next piece to copy, which may be of a later tile than the next to multiply.
  int copied_piece = 0, copied_tile = static_cast<int>(blockIdx.x), copied_slot = 0;
  const char* copied_row = nullptr;
  const auto start_tile = [&] {
    copied_row = weight + (int64_t{copied_tile} * Shape::kColumns + group) * row_bytes;
  };
  const auto copy_piece = [&] {
    if (copied_tile < layout.tiles) {
      const uint32_t slot = first_slot + copied_slot * kParts * Shape::kPartBytes;
      const int64_t byte = byte_of(copied_piece);
#pragma unroll
      for (int i = 0; i < Shape::kWeightParts; ++i) {
        const int64_t row = int64_t{copied_tile} * Shape::kColumns + i * 8 + group;
        const bool present = byte < row_bytes && row < p.weight_rows;
        copy_part(slot + i * Shape::kPartBytes,
                        present ? copied_row + i * 8 * row_bytes + byte : weight, present);
      }
      if constexpr (!Shape::kResident) copy_x(slot + Shape::kWeightParts * Shape::kPartBytes, copied_piece);
      if (++copied_piece == layout.warp_pieces) {
        copied_piece = 0;
        copied_tile += step;
        start_tile();
      }
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
    copied_slot = copied_slot + 1 == kDepth ? 0 : copied_slot + 1;
  };

  if (warp < kWarps) {
    start_tile();
    if constexpr (Shape::kResident) {  // part of the first group
      for (int piece = 0; piece < layout.warp_pieces; ++piece) {
        copy_x(first_x + piece * BatchTiles * Shape::kPartBytes, piece);
      }
    }
#pragma unroll 1
    for (int i = 0; i < kDepth - 1; ++i) copy_piece();
  } else {
    epilogue.stage(shared.epilogue[0], int64_t{blockIdx.x} * Shape::kColumns, 0,
                   thread - kWarps * 32);
  }

  int slot = 0, buffer = 0;
  for (int tile = blockIdx.x; tile < layout.tiles; tile += step, buffer ^= 1) {
    if (warp < kWarps) {
      Accumulator sums[RowTiles][BatchTiles][4] = {};
#pragma unroll 2
      for (int piece = 0; piece < layout.warp_pieces; ++piece) {
        copy_piece();
        asm volatile("cp.async.wait_group %0;" ::"n"(kDepth - 1) : "memory");
        const uint32_t from = first_slot + slot * kParts * Shape::kPartBytes;
        const uint32_t x_from = Shape::kResident ? first_x + piece * BatchTiles * Shape::kPartBytes
                                         : from + Shape::kWeightParts * Shape::kPartBytes;
        uint4 weights[RowTiles][2], columns[BatchTiles];
#pragma unroll
        for (int i = 0; i < Shape::kWeightParts; ++i) {
          weights[i / 2][i % 2] = load_shared_part(from + i * Shape::kPartBytes);
        }
#pragma unroll
        for (int i = 0; i < BatchTiles; ++i) {
          columns[i] = load_shared_part(x_from + i * Shape::kPartBytes);
        }
#pragma unroll
        for (int row_tile = 0; row_tile < RowTiles; ++row_tile) {
          const uint4 &upper = weights[row_tile][0], &lower = weights[row_tile][1];
#pragma unroll
          for (int i = 0; i < BatchTiles; ++i) {
            Mma<T>::multiply(sums[row_tile][i], upper.x, lower.x, upper.y, lower.y, columns[i].x,
                             columns[i].y);
            Mma<T>::multiply(sums[row_tile][i], upper.z, lower.z, upper.w, lower.w, columns[i].z,
                             columns[i].w);
          }
        }
        slot = slot + 1 == kDepth ? 0 : slot + 1;
      }
#pragma unroll
      for (int i = 0; i < RowTiles * BatchTiles * 4; ++i) {
        shared.sums[buffer][warp][i * 32 + lane] = sums[i / 4 / BatchTiles][i / 4 % BatchTiles][i % 4];
      }
    }
    __syncthreads();
    // One barrier a tile is enough: the other buffer was last read before it.
    if (warp >= kWarps) {
      if (tile + step < layout.tiles) {
        epilogue.stage(shared.epilogue[buffer ^ 1], (int64_t{tile} + step) * Shape::kColumns, 0,
                       thread - kWarps * 32);
      }
      continue;
    }
    for (int i = thread; i < Shape::kColumns * Shape::kRows; i += kWarps * 32) {
      const int column = i % Shape::kColumns, row = i / Shape::kColumns;
      if (row >= p.rows) break;
      const int index = fragment_index<BatchTiles>(column, row);
      Accumulator sum = shared.sums[buffer][0][index];
#pragma unroll
      for (int w = 1; w < kWarps; ++w) sum += shared.sums[buffer][w][index];
      epilogue.store(shared.epilogue[buffer], int64_t{tile} * Shape::kColumns + column, row, column,
                     row, sum);
    }
  }
}

template <class Shape>
RingLayout ring_layout(const StreamOperands<typename Shape::Operand>& p) {
  constexpr int64_t kPairBytes = 128 * Shape::kWarps;
  const int64_t row_bytes = p.cols * static_cast<int64_t>(sizeof(typename Shape::Operand));
  return {static_cast<int>((p.weight_rows + Shape::kColumns - 1) / Shape::kColumns),
          static_cast<int>((row_bytes + kPairBytes - 1) / kPairBytes * 2)};
}

// The dynamic shared memory of a launch.
template <class Shape>
size_t ring_shared_bytes(const RingLayout& layout) {
  const int resident_parts = Shape::kResident ? layout.warp_pieces * Shape::kBatchTiles : 0;
  return sizeof(typename Shape::Shared) +
         static_cast<size_t>(Shape::kWarps * (Shape::kDepth * Shape::kParts + resident_parts)) *
             Shape::kPartBytes;
}

// Launches when the shape's shared memory fits the device; otherwise returns false.
template <class Shape>
bool launch_ring(const char* name, const StreamOperands<typename Shape::Operand>& operands,
                 const typename Shape::Epilogue& epilogue, Context& context) {
  const RingLayout layout = ring_layout<Shape>(operands);
  Launch config;
  config.shared_bytes = ring_shared_bytes<Shape>(layout);
  if (config.shared_bytes > context.properties.sharedMemPerBlockOptin) return false;
  config.name = name;
  config.grid = dim3(
      static_cast<unsigned>(std::min(layout.tiles, context.properties.multiProcessorCount)));
  config.block = dim3(Shape::kThreads);
  config.overlap = true;
  launch(config, context, ring_matmul<Shape>, operands, layout, epilogue);
  return true;
}

// The fastest shape that fits: makes up to 8 or up to 16 rows. EpilogueFor<RowTiles, BatchTiles> is
// the epilogue's type.
template <class T, template <int, int> class EpilogueFor, class... Arguments>
bool launch_best_ring(const char* name, const StreamOperands<T>& operands, Context& context,
                      const Arguments&... arguments) {
  const auto attempt = [&]<int RowTiles, int BatchTiles, int Warps, int Depth, bool Resident>() {
    using Epilogue = EpilogueFor<RowTiles, BatchTiles>;
    using Shape = RingShape<T, RowTiles, BatchTiles, Warps, Depth, Resident, Epilogue>;
    return launch_ring<Shape>(name, operands, Epilogue{arguments...}, context);
  };
  if (operands.rows <= 8) {
    return (operands.rows > 2 && attempt.template operator()<1, 1, 16, 8, true>()) ||
           attempt.template operator()<1, 1, 16, 8, false>() ||
           attempt.template operator()<1, 1, 8, 6, false>();
  }
  return attempt.template operator()<1, 2, 16, 6, true>() ||
         attempt.template operator()<2, 2, 8, 7, false>() ||
         attempt.template operator()<1, 2, 8, 4, false>();
}

}  // namespace fewbit::cuda
