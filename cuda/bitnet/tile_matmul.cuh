// linear_bitnet for many rows on sm_90a: TMA and mbarrier pipeline, s8 wgmma with the weights
// unpacked into registers, epilogue on the accumulators.
//
// A block is a producer warpgroup, of which one thread copies tiles and three warps fetch what else a
// tile's rows need, and two consumer warpgroups. W
// is the 64-row operand, which may come from registers, so a result tile is transposed: its rows
// are columns of the op's result. W and X have rings of their own, since a box of 128 bytes holds
// four times as many columns of W. With Split > 1 a cluster of blocks shares a tile and each takes a
// part of K; their sums meet through distributed shared memory. Otherwise blocks are persistent:
// the producer runs ahead into the next tile while consumers finish one.
#pragma once

#include "../common/dependency.cuh"
#include "../common/hopper.cuh"
#include "../wgmma/s32.cuh"
#include "tile_epilogue.cuh"
#include "unpack.cuh"

namespace fewbit::cuda::bitnet {

constexpr int kTileThreads = 384;
constexpr int kConsumerThreads = 256;
constexpr int kConsumerWarps = kConsumerThreads / 32;
constexpr int kStagerThreads = 96;     // of the producer warpgroup
constexpr int kConsumerBarrier = 1;    // 0 is __syncthreads()
constexpr int kFirstStageBarrier = 2;  // one for each consumer warpgroup
constexpr int kTileColumns = 128;      // 64 of each consumer warpgroup
constexpr int kBoxBytes = 128;         // one swizzle span
constexpr int kDepthStep = 128;        // of K: a box of X
constexpr int kBoxSteps = 4;           // steps that a box of W lasts

// Tokens: rows of X.
template <int Tokens, int Split>
struct TileShape {
  static constexpr int kColumns = kTileColumns;
  static constexpr int kSums = Tokens / 2;
  static constexpr int kXBytes = Tokens * kBoxBytes;
  static constexpr int kWeightBytes = kColumns * kBoxBytes;
  static constexpr int kWeightStages = (Tokens <= 64    ? 96
                                        : Tokens <= 128 ? 64
                                                        : 32) *
                                       1024 / kWeightBytes;
  static constexpr int kXRoom = 208 * 1024 - kWeightStages * kWeightBytes;
  static constexpr int kXStages = kXRoom / kXBytes < 16 ? kXRoom / kXBytes : 16;

  struct Shared {
    unsigned char x[kXStages][kXBytes];  // 1024-byte aligned, as is weight
    unsigned char weight[kWeightStages][kWeightBytes];
    uint64_t x_full[kXStages], x_empty[kXStages];
    RowTerms<Tokens> rows;
    StagedRows staged[Split > 1 ? 1 : kConsumerThreads / 128];
    uint64_t weight_full[kWeightStages], weight_empty[kWeightStages];
    uint64_t rows_full, rows_empty;
  };
  static constexpr int kSharedBytes = sizeof(Shared) + 1024;  // room to align
  static_assert(kSharedBytes <= 227 * 1024);
};

struct TileGrid {
  int token_tiles;
  int column_tiles;
  int depth_steps;

  __host__ __device__ int units() const { return token_tiles * column_tiles; }
  // Units that run at the same time share rows of X and of W as far as possible: x, the token tile;
  // y, the column tile.
  __device__ __forceinline__ int2 at(int unit) const {
    constexpr int kGroup = 8;
    const int in_group = kGroup * column_tiles;
    const int first = unit / in_group * kGroup;
    const int height = min(kGroup, token_tiles - first);
    const int rest = unit % in_group;
    return {first + rest % height, rest / height};
  }
};

// A place in a ring of stages, and the parity of the barriers' phase there.
template <int Stages>
struct RingPlace {
  int stage = 0;
  uint32_t phase = 0;
  __device__ __forceinline__ void advance() {
    if (++stage == Stages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// A lane's registers for the four wgmma of a step: rows row and row + 8 of the tile of W. The tile
// is swizzled by its row modulo 8, which is group.
__device__ __forceinline__ void unpack_step(uint32_t (&registers)[4][4], const unsigned char* tile,
                                            int row, int step, int group, int part) {
  uint32_t words[2][8];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int piece = 0; piece < 2; ++piece) {
      const int chunk = (step * 2 + piece) ^ group;
      const uint4 loaded =
          *reinterpret_cast<const uint4*>(tile + (row + half * 8) * kBoxBytes + chunk * 16);
      words[half][piece * 4] = loaded.x;
      words[half][piece * 4 + 1] = loaded.y;
      words[half][piece * 4 + 2] = loaded.z;
      words[half][piece * 4 + 3] = loaded.w;
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) registers[i][j] = unpack(words[j % 2][2 * i + j / 2], part);
  }
}

// Leaves the cluster's sums of this block's share of the fragments in the places of that share.
template <int Sums, int Split>
__device__ __forceinline__ void exchange_sums(int32_t (&sums)[Sums], int32_t* buffer, int rank,
                                              int thread) {
  constexpr int kOwn = Sums / Split;
#pragma unroll
  for (int i = 0; i < Sums; ++i) buffer[i * kConsumerThreads + thread] = sums[i];
  hopper::cluster_sync();
#pragma unroll
  for (int i = 0; i < Sums; ++i) {
    if (i / kOwn != rank) continue;
#pragma unroll
    for (int other = 1; other < Split; ++other) {
      sums[i] += hopper::load_remote(&buffer[i * kConsumerThreads + thread],
                                     static_cast<uint32_t>((rank + other) % Split));
    }
  }
}

#endif

// Adds: whether results are added to a residual.
template <int Tokens, int Split, bool Adds>
__global__ __launch_bounds__(kTileThreads,
                             1) void tile_matmul(const __grid_constant__ CUtensorMap x_map,
                                                 const __grid_constant__ CUtensorMap weight_map,
                                                 const Product p, const TileGrid grid) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = TileShape<Tokens, Split>;
  using namespace hopper;
  extern __shared__ unsigned char shared_bytes[];
  auto& shared = *reinterpret_cast<typename Shape::Shared*>(
      (reinterpret_cast<uintptr_t>(shared_bytes) + 1023) & ~uintptr_t{1023});

  const int rank = Split > 1 ? static_cast<int>(cluster_rank()) : 0;
  const int clusters = static_cast<int>(gridDim.x) / Split;
  const int first_unit = static_cast<int>(blockIdx.x) / Split;
  const int begin = grid.depth_steps * rank / Split;
  const int end = grid.depth_steps * (rank + 1) / Split;
  const auto copy_weight = [&](int stage, int column_tile, int step) {
    arrive_expecting(shared.weight_full[stage], Shape::kWeightBytes);
    copy_box(shared.weight[stage], weight_map, shared.weight_full[stage], step * kDepthStep / 4,
             column_tile * Shape::kColumns);
  };
  // Boxes of W that were under way before the predecessor had ended.
  const int ahead =
      p.weights_settled ? min(Shape::kWeightStages, (end - begin + kBoxSteps - 1) / kBoxSteps) : 0;

  if (threadIdx.x == 0) {
    prefetch_map(x_map);
    prefetch_map(weight_map);
    for (int stage = 0; stage < Shape::kXStages; ++stage) {
      barrier_init(shared.x_full[stage], 1);
      barrier_init(shared.x_empty[stage], kConsumerWarps);
    }
    for (int stage = 0; stage < Shape::kWeightStages; ++stage) {
      barrier_init(shared.weight_full[stage], 1);
      barrier_init(shared.weight_empty[stage], kConsumerWarps);
    }
    barrier_init(shared.rows_full, kStagerThreads);
    barrier_init(shared.rows_empty, kConsumerThreads);
    barrier_init_fence();
    for (int i = 0; i < ahead; ++i) copy_weight(i, grid.at(first_unit).y, begin + i * kBoxSteps);
  }
  if constexpr (Split > 1) {
    cluster_sync();
  } else {
    __syncthreads();
  }
  wait_for_predecessor();
  start_successor();

  if (threadIdx.x < kTileThreads - kConsumerThreads) {
    give_registers<40>();
    // For exchange_sums, where consumers must not wait for this warpgroup, which may be waiting for
    // them.
    if constexpr (Split > 1) cluster_arrive();
    if (threadIdx.x == 0) {
      RingPlace<Shape::kXStages> x;
      RingPlace<Shape::kWeightStages> weight;
      int boxes = 0;
      for (int unit = first_unit; unit < grid.units(); unit += clusters) {
        const int2 tile = grid.at(unit);
        for (int step = begin; step < end; ++step) {
          if ((step - begin) % kBoxSteps == 0) {
            if (boxes >= ahead) {
              wait(shared.weight_empty[weight.stage], weight.phase ^ 1);
              copy_weight(weight.stage, tile.y, step);
            }
            ++boxes;
            weight.advance();
          }
          wait(shared.x_empty[x.stage], x.phase ^ 1);
          arrive_expecting(shared.x_full[x.stage], Shape::kXBytes);
          copy_box(shared.x[x.stage], x_map, shared.x_full[x.stage], step * kDepthStep,
                   tile.x * Tokens);
          x.advance();
        }
      }
    } else if (threadIdx.x >= kTileThreads - kConsumerThreads - kStagerThreads) {
      uint32_t phase = 0;
      for (int unit = first_unit; unit < grid.units(); unit += clusters, phase ^= 1) {
        wait(shared.rows_empty, phase ^ 1);
        stage_rows<kStagerThreads>(p, shared.rows, int64_t{grid.at(unit).x} * Tokens,
                                   static_cast<int>(threadIdx.x) - 32);
        arrive(shared.rows_full);
      }
    }
    __syncwarp();
    if constexpr (Split > 1) cluster_wait();
  } else {
    take_registers<232>();
    const int thread = static_cast<int>(threadIdx.x) - (kTileThreads - kConsumerThreads);
    const int lane = thread % 32, group = lane / 4, part = lane % 4;
    // Of this thread's first row of W within the tile.
    const int own_row = thread / 32 * 16 + group;
    RingPlace<Shape::kXStages> x;
    RingPlace<Shape::kWeightStages> weight;
    uint32_t rows_phase = 0;
    [[maybe_unused]] int staged_turn = 0;
    for (int unit = first_unit; unit < grid.units(); unit += clusters, rows_phase ^= 1) {
      const int2 tile = grid.at(unit);
      const int64_t row = int64_t{tile.x} * Tokens;
      const int64_t column = int64_t{tile.y} * Shape::kColumns + own_row;
      const ColumnPair columns(p, column);
      int32_t sums[Shape::kSums];
      uint32_t registers[2][4][4];
      int previous = -1;
      const auto multiply_step = [&](int step, uint32_t(&now)[4][4], uint32_t(&before)[4][4]) {
        const int in_box = (step - begin) % kBoxSteps;
        if (in_box == 0) wait(shared.weight_full[weight.stage], weight.phase);
        unpack_step(now, shared.weight[weight.stage], own_row, in_box, group, part);
        if (in_box == kBoxSteps - 1 || step == end - 1) {
          __syncwarp();
          if (lane == 0) arrive(shared.weight_empty[weight.stage]);
          weight.advance();
        }
        wait(shared.x_full[x.stage], x.phase);
        const uint64_t b = tile_descriptor(shared.x[x.stage]);
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          wgmma(sums, now[i], b + 2 * i, step > begin || i > 0);
        }
        wgmma_commit();
        wgmma_wait<1>();
        // The step before has ended: only now may its registers be written again.
#pragma unroll
        for (int i = 0; i < 16; ++i) asm volatile("" : "+r"(before[i / 4][i % 4])::"memory");
        if (previous >= 0 && lane == 0) arrive(shared.x_empty[previous]);
        previous = x.stage;
        x.advance();
      };
      // In pairs, so that a step's registers are never those of the step before.
      int step = begin;
      for (; step + 1 < end; step += 2) {
        multiply_step(step, registers[0], registers[1]);
        multiply_step(step + 1, registers[1], registers[0]);
      }
      if (step < end) multiply_step(step, registers[0], registers[1]);
      wgmma_wait<0>();
#pragma unroll
      for (int32_t& sum : sums) asm volatile("" : "+r"(sum)::"memory");
      if (lane == 0) arrive(shared.x_empty[previous]);

      if constexpr (Split > 1) {
        static_assert(Shape::kSums * kConsumerThreads * 4 <= sizeof(shared.x));
        named_sync<kConsumerBarrier, kConsumerThreads>();  // nobody reads the stages any more
        exchange_sums<Shape::kSums, Split>(sums, reinterpret_cast<int32_t*>(shared.x), rank,
                                           thread);
      }
      wait(shared.rows_full, rows_phase);
      bool stored = false;
      if constexpr (Split == 1) {
        const int half = thread / 128;
        const auto store_as = [&](auto zero, auto plain) {
          store_staged<decltype(zero), Tokens, Adds, decltype(plain)::value>(
              p, sums, shared.rows, columns, row, column - own_row + half * 64, shared.staged[half],
              staged_turn, kFirstStageBarrier + half);
        };
        const auto store = [&](auto zero) {
          p.is_plain() ? store_as(zero, std::true_type{}) : store_as(zero, std::false_type{});
        };
        stored = stores_together<8>(p);
        if (stored) p.out_dtype == DType::BF16 ? store(__nv_bfloat16{}) : store(__half{});
      }
      if (!stored)
        store_tile<Tokens, Split, Adds>(p, sums, shared.rows, columns, row, column, rank);
      arrive(shared.rows_empty);
    }
  }
  // Nobody leaves while another block may still read its shared memory.
  if constexpr (Split > 1) {
    __syncwarp();
    cluster_sync();
  }
#endif
}

}  // namespace fewbit::cuda::bitnet
