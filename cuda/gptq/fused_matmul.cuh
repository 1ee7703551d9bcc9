// linear_gptq for many rows on sm_90a: TMA and mbarrier pipeline, codes turned into 16-bit weights in
// registers, wgmma with the weights as operand A and x as operand B, so that the result comes out
// transposed: 128 outputs by BatchRows rows of x per block.
//
// A block is a producer warpgroup (one thread copies tiles) and two consumer warpgroups of 64 outputs
// each. Blocks of a cluster either split K (their f32 sums meet through distributed shared memory,
// in fixed order), or lie side by side over the same rows of x, of which each fetches a part for all.
#pragma once

#include "../common/dependency.cuh"
#include "../common/hopper.cuh"
#include "fragments.cuh"
#include "linear_gptq.h"
#include "wgmma.cuh"

namespace fewbit::cuda::gptq {

constexpr int kFusedThreads = 384;
constexpr int kConsumers = 256;
constexpr int kConsumerWarps = kConsumers / 32;
constexpr int kFusedColumns = 128;
constexpr int kStagers = 64;

template <int Bits, int BatchRows>
struct FusedShape {
  static constexpr int kXBytes = BatchRows * kTileDepth * 2;
  static constexpr int kLowBytes = kFusedColumns * kTileDepth * plane_width(Bits) / 8;
  static constexpr int kHighBytes = Bits == 3 ? kFusedColumns * kTileDepth / 8 : 0;
  static constexpr int kCopiedBytes = kXBytes + kLowBytes + kHighBytes;
  // A row's scales and zero points for the four 32-position parts of the tile.
  static constexpr int kGridBytes = kFusedColumns * sizeof(uint4);
  static constexpr int kStageBytes = kCopiedBytes + kGridBytes;
  // Small tiles leave room for a second block on the multiprocessor.
  static constexpr int kBlocks = BatchRows <= 32 ? 2 : 1;
  static constexpr int kRoom = kBlocks == 2 ? 110 * 1024 : 225 * 1024;
  static constexpr int kStages = kRoom / kStageBytes < 16 ? kRoom / kStageBytes : 16;
  // One wgmma takes up to 128 rows of x.
  static constexpr int kMmaRows = BatchRows < 128 ? BatchRows : 128;
  static constexpr int kMmas = BatchRows / kMmaRows;
  // Sums on their way out, [BatchRows][kFusedColumns]: the padding keeps threads in different banks.
  static constexpr int kSumStride = kFusedColumns + 4;

  struct Shared {
    union {
      unsigned char stages[kStages][kStageBytes];  // x, codes, top bits, grids; 1024-byte aligned
      float sums[BatchRows * kSumStride];
    };
    uint64_t full[kStages], empty[kStages];
  };
  static constexpr int kSharedBytes = sizeof(Shared) + 1024;  // room to align
};

struct FusedGrid {
  int column_tiles;  // rounded up to a multiple of multicast
  int batch_tiles;
  int depth_steps;
  int split;      // blocks of a cluster that share a tile
  int multicast;  // blocks of a cluster that share x; one of the two is 1
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Stages the scales and zero points of a tile, as FragmentUnpacker takes them: a scale in T and a zero
// point above it. A stager takes one or two rows of the weight.
template <class T>
class GridStager {
 public:
  __device__ __forceinline__ GridStager(const Weight& w, int first_column, int stager,
                                        float to_group)
      : zeros_(w.zeros), last_group_(w.groups - 1), to_group_(to_group), stager_(stager) {
    const auto last_row = static_cast<int>(w.rows - 1);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      first_[i] = min(first_column + row_of(i), last_row) * w.groups;
    }
  }

  template <class Scale>
  __device__ __forceinline__ void stage(const Scale* scales, int step, uint4* to) const {
    uint32_t grids[kRows][kParts];
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      const float chunk = static_cast<float>(step * kParts + part);
      const int group = min(static_cast<int>((chunk + 0.5f) * to_group_), last_group_);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        grids[i][part] = (pair_of<T>(to_float(scales[first_[i] + group])) & 0xffffu) |
                         static_cast<uint32_t>(zeros_[first_[i] + group]) << 16;
      }
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      to[row_of(i)] = uint4{grids[i][0], grids[i][1], grids[i][2], grids[i][3]};
    }
  }

 private:
  static constexpr int kParts = kTileDepth / kChunk;
  static constexpr int kRows = kFusedColumns / kStagers;

  __device__ __forceinline__ int row_of(int i) const { return stager_ + i * kStagers; }

  const uint8_t* zeros_;
  int last_group_;
  float to_group_;
  int stager_;
  int first_[kRows];
};

__device__ __forceinline__ float4 load_remote_four(const float* local, uint32_t rank) {
  float4 values;
  asm volatile(
      "{\n\t.reg .b32 remote;\n\t"
      "mapa.shared::cluster.u32 remote, %4, %5;\n\t"
      "ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [remote];\n\t}"
      : "=f"(values.x), "=f"(values.y), "=f"(values.z), "=f"(values.w)
      : "r"(hopper::shared_address(local)), "r"(rank)
      : "memory");
  return values;
}

// Four neighbouring outputs of a row, of which the first is number column.
__device__ __forceinline__ void store_four(const LinearGptq& p, int64_t at, int64_t column,
                                           const float (&values)[4]) {
  const bool wide = p.out_dtype == DType::F32;
  void* to = static_cast<char*>(p.out) + at * (wide ? 4 : 2);
  const bool whole =
      column + 4 <= p.weight.rows && reinterpret_cast<uintptr_t>(to) % (wide ? 16 : 8) == 0;
  if (!whole) {
    for (int i = 0; i < 4 && column + i < p.weight.rows; ++i) {
      store_float(p.out, p.out_dtype, at + i, values[i]);
    }
  } else if (wide) {
    *static_cast<float4*>(to) = float4{values[0], values[1], values[2], values[3]};
  } else if (p.out_dtype == DType::F16) {
    const __half2 pairs[2] = {__floats2half2_rn(values[0], values[1]),
                              __floats2half2_rn(values[2], values[3])};
    *static_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(pairs);
  } else {
    const __nv_bfloat162 pairs[2] = {__floats2bfloat162_rn(values[0], values[1]),
                                     __floats2bfloat162_rn(values[2], values[3])};
    *static_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(pairs);
  }
}

template <int Step, class T, int Bits>
__device__ __forceinline__ void unpack_step(const HalfTileWords<Bits> (&words)[2],
                                            const FragmentUnpacker<T, Bits>& upper,
                                            const FragmentUnpacker<T, Bits>& lower, int part,
                                            uint32_t (&a)[4]) {
  upper.template unpack<Step>(words[0], part, a[0], a[2]);
  lower.template unpack<Step>(words[1], part, a[1], a[3]);
}

// Half a tile of 64 positions; grids: those of its two 32-position parts, for both rows.
template <class T, int Bits>
__device__ __forceinline__ void unpack_half(const HalfTileWords<Bits> (&words)[2],
                                            const uint2 (&grids)[2], int part,
                                            uint32_t (&a)[4][4]) {
  {
    const FragmentUnpacker<T, Bits> upper(grids[0].x), lower(grids[1].x);
    unpack_step<0, T, Bits>(words, upper, lower, part, a[0]);
    unpack_step<1, T, Bits>(words, upper, lower, part, a[1]);
  }
  const FragmentUnpacker<T, Bits> upper(grids[0].y), lower(grids[1].y);
  unpack_step<2, T, Bits>(words, upper, lower, part, a[2]);
  unpack_step<3, T, Bits>(words, upper, lower, part, a[3]);
}

#endif

template <class T, int Bits, int BatchRows>
__global__
__launch_bounds__(kFusedThreads, (FusedShape<Bits, BatchRows>::kBlocks)) void fused_matmul(
    const __grid_constant__ CUtensorMap x_map, const __grid_constant__ CUtensorMap low_map,
    const __grid_constant__ CUtensorMap high_map, const LinearGptq p, const FusedGrid grid,
    const float to_group) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = FusedShape<Bits, BatchRows>;
  using namespace hopper;
  extern __shared__ unsigned char shared_bytes[];
  auto& shared = *reinterpret_cast<typename Shape::Shared*>(
      (reinterpret_cast<uintptr_t>(shared_bytes) + 1023) & ~uintptr_t{1023});

  const Weight& w = p.weight;
  const int cluster = grid.split * grid.multicast;
  const int rank = cluster > 1 ? static_cast<int>(cluster_rank()) : 0;
  const int unit = static_cast<int>(blockIdx.x) / cluster;
  const int column_units = grid.column_tiles / grid.multicast;
  const int column_tile = unit % column_units * grid.multicast + (grid.multicast > 1 ? rank : 0);
  const int first_column = column_tile * kFusedColumns;
  const int first_row = unit / column_units * BatchRows;
  const int depth_rank = grid.split > 1 ? rank : 0;
  const int begin = static_cast<int>(int64_t{grid.depth_steps} * depth_rank / grid.split);
  const int end = static_cast<int>(int64_t{grid.depth_steps} * (depth_rank + 1) / grid.split);

  start_successor();
  if (threadIdx.x == 0) {
    prefetch_map(x_map);
    prefetch_map(low_map);
    for (int stage = 0; stage < Shape::kStages; ++stage) {
      barrier_init(shared.full[stage], 1 + kStagers);
      barrier_init(shared.empty[stage], static_cast<uint32_t>(kConsumerWarps * grid.multicast));
    }
    barrier_init_fence();
  }
  if (cluster > 1) {
    cluster_sync();
  } else {
    __syncthreads();
  }

  if (threadIdx.x < kFusedThreads - kConsumers) {
    give_registers<40>();
    if (threadIdx.x == 0) {
      const int fetched_rows = BatchRows / grid.multicast;
      const int fetched = (grid.multicast > 1 ? rank : 0) * fetched_rows;
      const auto mask = static_cast<uint16_t>((1 << cluster) - 1);
      const auto copy_codes = [&](int stage, int step) {
        arrive_expecting(shared.full[stage], Shape::kCopiedBytes);
        unsigned char* to = shared.stages[stage] + Shape::kXBytes;
        copy_box(to, low_map, shared.full[stage], step * (kTileDepth * plane_width(Bits) / 8),
                 first_column);
        if constexpr (Bits == 3) {
          copy_box(to + Shape::kLowBytes, high_map, shared.full[stage], step * (kTileDepth / 8),
                   first_column);
        }
      };
      const auto copy_x = [&](int stage, int step) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          unsigned char* to = shared.stages[stage] + half * (Shape::kXBytes / 2) + fetched * 128;
          const int byte = (step * 2 + half) * 128;
          if (grid.multicast > 1) {
            copy_box_to_all<2>(to, x_map, shared.full[stage], byte, first_row + fetched, mask);
          } else {
            copy_box(to, x_map, shared.full[stage], byte, first_row);
          }
        }
      };
      // Weights may be read before the wait: they are constants of a captured graph, and outside of
      // one the launch does not overlap.
      const int early = min(Shape::kStages, end - begin);
      for (int i = 0; i < early; ++i) copy_codes(i, begin + i);
      wait_for_predecessor();
      for (int i = 0; i < early; ++i) copy_x(i, begin + i);
      for (int i = early; i < end - begin; ++i) {
        const int stage = i % Shape::kStages;
        wait(shared.empty[stage], static_cast<uint32_t>(i / Shape::kStages & 1) ^ 1);
        copy_codes(stage, begin + i);
        copy_x(stage, begin + i);
      }
    } else if (threadIdx.x >= 64) {
      const GridStager<T> stager(w, first_column, static_cast<int>(threadIdx.x) - 64, to_group);
      with_scales(w, [&](const auto* scales) {
        for (int i = 0; i < end - begin; ++i) {
          const int stage = i % Shape::kStages;
          wait(shared.empty[stage], static_cast<uint32_t>(i / Shape::kStages & 1) ^ 1);
          stager.stage(scales, begin + i,
                       reinterpret_cast<uint4*>(shared.stages[stage] + Shape::kCopiedBytes));
          arrive(shared.full[stage]);
        }
      });
    }
    __syncwarp();
    if (cluster > 1) {
      cluster_sync();
      cluster_sync();
    }
  } else {
    take_registers<Shape::kBlocks == 2 ? 96 : 232>();
    wait_for_predecessor();
    const int thread = static_cast<int>(threadIdx.x) - (kFusedThreads - kConsumers);
    const int lane = thread % 32, part = lane % 4;
    const int tile_row = thread / 32 * 16 + lane / 4;
    // A stage is released to all blocks that write to it.
    const auto release = [&](int stage) {
      __syncwarp();
      if (grid.multicast > 1) {
        if (lane < grid.multicast) arrive_at(shared.empty[stage], static_cast<uint32_t>(lane));
      } else if (lane == 0) {
        arrive(shared.empty[stage]);
      }
    };

    float sums[Shape::kMmas][Shape::kMmaRows / 2];
    uint32_t a[2][4][4];
    int stage = 0;
    uint32_t phase = 0;
    for (int step = begin; step < end; ++step) {
      wait(shared.full[stage], phase);
      const unsigned char* low = shared.stages[stage] + Shape::kXBytes;
      const unsigned char* high = low + Shape::kLowBytes;
      const unsigned char* grids_of = shared.stages[stage] + Shape::kCopiedBytes;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const HalfTileWords<Bits> words[2] = {
            load_half_tile<Bits>(low, high, tile_row, half, part),
            load_half_tile<Bits>(low, high, tile_row + 8, half, part)};
        const uint2 grids[2] = {
            *reinterpret_cast<const uint2*>(grids_of + tile_row * 16 + half * 8),
            *reinterpret_cast<const uint2*>(grids_of + (tile_row + 8) * 16 + half * 8)};
        unpack_half<T, Bits>(words, grids, part, a[half]);
        const uint64_t x = tile_descriptor(shared.stages[stage] + half * (Shape::kXBytes / 2));
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
          for (int mma = 0; mma < Shape::kMmas; ++mma) {
            Wgmma<T, Shape::kMmaRows>::multiply(sums[mma], a[half][i],
                                                x + 2 * i + mma * (Shape::kMmaRows * 128 / 16),
                                                step > begin || half > 0 || i > 0);
          }
        }
        wgmma_commit();
        // What came before is done with its registers and its stage.
        wgmma_wait<1>();
        if (half == 0 && step > begin) {
          release(stage == 0 ? Shape::kStages - 1 : stage - 1);
        }
      }
      if (++stage == Shape::kStages) {
        stage = 0;
        phase ^= 1;
      }
    }
    wgmma_wait<0>();
    if (begin == end) {
#pragma unroll
      for (int mma = 0; mma < Shape::kMmas; ++mma) {
#pragma unroll
        for (float& sum : sums[mma]) sum = 0;
      }
    }
#pragma unroll
    for (int mma = 0; mma < Shape::kMmas; ++mma) {
#pragma unroll
      for (float& sum : sums[mma]) asm volatile("" : "+f"(sum)::"memory");
    }

    named_sync<1, kConsumers>();  // nobody reads the stages any more, and all copies have come
#pragma unroll
    for (int mma = 0; mma < Shape::kMmas; ++mma) {
#pragma unroll
      for (int i = 0; i < Shape::kMmaRows / 2; ++i) {
        const int row = mma * Shape::kMmaRows + i / 4 * 8 + part * 2 + i % 2;
        shared.sums[row * Shape::kSumStride + tile_row + i % 4 / 2 * 8] = sums[mma][i];
      }
    }
    if (cluster > 1) {
      cluster_sync();
    } else {
      named_sync<1, kConsumers>();
    }
    const int64_t column = first_column + lane * 4;
    float bias[4] = {};
    if (p.bias) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        bias[i] = load_float(p.bias, p.bias_dtype, min(column + i, w.rows - 1));
      }
    }
    const int share_rows = BatchRows / grid.split;
    for (int row = depth_rank * share_rows + thread / 32; row < (depth_rank + 1) * share_rows;
         row += kConsumerWarps) {
      const int64_t out_row = first_row + row;
      if (out_row >= p.rows) break;
      const float* from = &shared.sums[row * Shape::kSumStride + lane * 4];
      float4 sum = *reinterpret_cast<const float4*>(from);
      if (grid.split > 1) {
        sum = float4{0, 0, 0, 0};
        for (int other = 0; other < grid.split; ++other) {
          const float4 share = load_remote_four(from, static_cast<uint32_t>(other));
          sum.x += share.x;
          sum.y += share.y;
          sum.z += share.z;
          sum.w += share.w;
        }
      }
      float values[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) values[i] = activate(values[i] + bias[i], p.activation);
      store_four(p, out_row * p.out_stride + column, column, values);
    }
    // Nobody leaves while another block may still read its sums or signal its barriers.
    __syncwarp();
    if (cluster > 1) cluster_sync();
  }
#endif
}

}  // namespace fewbit::cuda::gptq
