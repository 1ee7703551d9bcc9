// linear_affine for few rows: weights straight from memory into the tensor cores.
//
// A block owns 16 rows of W (the 16-row operand of the product) and 8 * BatchTiles rows of X (the
// 8-column operand), which lie in shared memory, a panel of K at a time. Its warps take turns at
// chunks of 128 positions. The sums of a group are exact in int32, are then scaled and added up in
// fp32, and those of the warps meet in shared memory.
#pragma once

#include "../common/dependency.cuh"
#include "../common/gemv.cuh"
#include "../common/hopper.cuh"
#include "../common/mma.cuh"
#include "unpack.cuh"

namespace fewbit::cuda::affine {

constexpr int kStreamWarps = 8;
constexpr int kStreamThreads = kStreamWarps * 32;
constexpr int kStreamColumns = 16;

// Chunks that a warp loads at once.
template <int Bits>
constexpr int kAhead = Bits == 8 ? 2 : 4;

// Shared memory: rows of X, row_bytes apart; the columns' terms, term_stride apart; the warps' sums.
struct StreamPlan {
  int staged_rows;
  int panel_chunks;  // of K; a multiple of kStreamWarps * kAhead, unless all of it
  int row_bytes;     // a panel's and 16, so that rows begin in different banks
  int term_stride;   // at least the groups, and odd
  float to_group;    // groups in a 32-position block

  __host__ __device__ int terms_at() const { return staged_rows * row_bytes; }
  __host__ __device__ int sums_at() const {
    const int end = terms_at() + kStreamColumns * term_stride * static_cast<int>(sizeof(GroupTerm));
    return (end + 15) / 16 * 16;
  }
};

template <int Bits>
__device__ __forceinline__ ChunkPart<Bits> load_part(const Product& p, int64_t column, int chunk,
                                                     int part) {
  constexpr int kWidth = ops::affine::low_width(Bits);
  const int64_t at = column * p.chunks() + chunk;
  const uint8_t* low = p.low + at * (16 * kWidth) + part * 4 * kWidth;
  ChunkPart<Bits> loaded;
  if constexpr (Bits == 4) {
    loaded.words = load_once(low);
  } else if constexpr (Bits == 8) {
    loaded.words[0] = load_once(low);
    loaded.words[1] = load_once(low + 16);
  } else {
    loaded.low = *reinterpret_cast<const uint2*>(low);
    loaded.high = *reinterpret_cast<const uint32_t*>(p.high + at * 16 + part * 4);
  }
  return loaded;
}

// Four 8 x 16-byte matrices: lanes 8 i .. 8 i + 7 have the addresses of the rows of matrix i, and
// lane l gets bytes 4 (l % 4) and up of row l / 4 of each.
__device__ __forceinline__ void load_matrices(uint32_t (&matrices)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
               : "r"(address)
               : "memory");
}

// Rows first_row and up of X into shared memory, chunks first .. first + count of them, as int8 and
// with zeros behind K.
__device__ __forceinline__ void stage_rows(const Product& p, const StreamPlan& plan,
                                           unsigned char* to, int64_t first_row, int first,
                                           int count) {
  const int pieces = count * (kChunk / 16);
  for (int i = threadIdx.x; i < plan.staged_rows * pieces; i += kStreamThreads) {
    const int row = i / pieces, piece = i % pieces;
    const int64_t position = int64_t{first} * kChunk + piece * 16;
    uint4 codes{0, 0, 0, 0};
    if (position < p.depth && first_row + row < p.rows) {
      const uint8_t* from = p.x + (first_row + row) * p.x_row_bytes() + position * p.x_bits / 8;
      if (p.x_bits == 8) {
        codes = *reinterpret_cast<const uint4*>(from);
      } else {
        const uint2 packed = *reinterpret_cast<const uint2*>(from);
        const uint2 front = widen_nibbles(packed.x), back = widen_nibbles(packed.y);
        codes = uint4{front.x, front.y, back.x, back.y};
      }
    }
    *reinterpret_cast<uint4*>(to + row * plan.row_bytes + piece * 16) = codes;
  }
}

template <int Bits, int GroupBlocks, int BatchTiles>
__global__ __launch_bounds__(kStreamThreads, 3) void stream_matmul(const Product p,
                                                                   const StreamPlan plan) {
  constexpr int kRows = BatchTiles * 8, kStep = kStreamWarps * kAhead<Bits>;
  extern __shared__ __align__(16) unsigned char shared[];
  auto* terms = reinterpret_cast<GroupTerm*>(shared + plan.terms_at());
  auto* warp_sums = reinterpret_cast<float(*)[kStreamColumns][kRows]>(shared + plan.sums_at());
  start_successor();

  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const int group_row = lane / 4, part = lane % 4;
  const int64_t first_column = int64_t{blockIdx.x} * kStreamColumns;
  const int64_t first_row = int64_t{blockIdx.y} * kRows;
  const int chunks = p.chunks();
  const int64_t columns[2] = {min(first_column + group_row, p.columns - 1),
                              min(first_column + group_row + 8, p.columns - 1)};

  ChunkPart<Bits> held[kAhead<Bits>][2];
  const auto read_weights = [&](int chunk, ChunkPart<Bits>(&to)[2]) {
    if (chunk >= chunks) return;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      to[half] = load_part<Bits>(p, columns[half], chunk, part);
    }
  };
  const auto read_constants = [&] {
#pragma unroll
    for (int u = 0; u < kAhead<Bits>; ++u) read_weights(u * kStreamWarps + warp, held[u]);
    for (int i = thread; i < kStreamColumns * p.groups; i += kStreamThreads) {
      const int row = i / p.groups, group = i % p.groups;
      terms[row * plan.term_stride + group] =
          group_term(p, min(first_column + row, p.columns - 1), group);
    }
  };
  if (p.weights_settled) read_constants();
  wait_for_predecessor();
  if (!p.weights_settled) read_constants();

  float totals[BatchTiles][4] = {};
  for (int base = 0; base < chunks; base += kStep) {
    const int in_panel = base % plan.panel_chunks;
    if (in_panel == 0) {
      if (base > 0) __syncthreads();
      stage_rows(p, plan, shared, first_row, base, min(plan.panel_chunks, chunks - base));
      __syncthreads();
    }
#pragma unroll
    for (int u = 0; u < kAhead<Bits>; ++u) {
      const int chunk = base + u * kStreamWarps + warp;
      if (chunk >= chunks) break;
      uint32_t codes[BatchTiles][2][4];
#pragma unroll
      for (int batch = 0; batch < BatchTiles; ++batch) {
        const int row = min(batch * 8 + lane % 8, plan.staged_rows - 1);
        const unsigned char* from = shared + row * plan.row_bytes +
                                    (in_panel + u * kStreamWarps + warp) * kChunk + lane / 8 * 16;
        load_matrices(codes[batch][0], hopper::shared_address(from));
        load_matrices(codes[batch][1], hopper::shared_address(from + 64));
      }
#pragma unroll
      for (int first = 0; first < kBlocks; first += GroupBlocks) {
        const int group = min(
            static_cast<int>((static_cast<float>(chunk * kBlocks + first) + 0.5f) * plan.to_group),
            p.groups - 1);
        const GroupTerm upper = terms[group_row * plan.term_stride + group];
        const GroupTerm lower = terms[(group_row + 8) * plan.term_stride + group];
        int32_t sums[BatchTiles][4] = {};
#pragma unroll
        for (int block = first; block < first + GroupBlocks; ++block) {
          const uint32_t a[4] = {
              held[u][0].weights(block, 0, upper.zeros), held[u][1].weights(block, 0, lower.zeros),
              held[u][0].weights(block, 1, upper.zeros), held[u][1].weights(block, 1, lower.zeros)};
#pragma unroll
          for (int batch = 0; batch < BatchTiles; ++batch) {
            const uint32_t* b = &codes[batch][block / 2][block % 2 * 2];
            Mma<int8_t>::multiply(sums[batch], a[0], a[1], a[2], a[3], b[0], b[1]);
          }
        }
#pragma unroll
        for (int batch = 0; batch < BatchTiles; ++batch) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            totals[batch][i] = fmaf(i < 2 ? upper.scale : lower.scale,
                                    static_cast<float>(sums[batch][i]), totals[batch][i]);
          }
        }
      }
      read_weights(chunk + kStep, held[u]);
    }
  }
#pragma unroll
  for (int batch = 0; batch < BatchTiles; ++batch) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      *reinterpret_cast<float2*>(&warp_sums[warp][half * 8 + group_row][batch * 8 + part * 2]) =
          float2{totals[batch][2 * half], totals[batch][2 * half + 1]};
    }
  }
  __syncthreads();
  for (int i = thread; i < kStreamColumns * kRows; i += kStreamThreads) {
    const int64_t column = first_column + i % kStreamColumns, row = first_row + i / kStreamColumns;
    if (column >= p.columns || row >= p.rows) continue;
    float sum = 0;
#pragma unroll
    for (int w = 0; w < kStreamWarps; ++w) {
      sum += warp_sums[w][i % kStreamColumns][i / kStreamColumns];
    }
    store_float(p.out, p.out_dtype, row * p.out_stride + column,
                activate(sum + p.bias_at(column), p.activation));
  }
}

}  // namespace fewbit::cuda::affine
