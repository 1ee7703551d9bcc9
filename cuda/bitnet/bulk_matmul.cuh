// linear_bitnet for up to eight rows of X, limited by the bandwidth of the weights.
//
// One block to a multiprocessor, each with an equal share of the rows of W, which bulk copies bring
// through a ring of stages in shared memory: they need no registers, and are under way before the
// kernel's predecessor has ended. The warps form teams, which take turns at the stages. Those of a team
// split K: each multiplies its columns of all rows of a stage on the tensor cores, W as the 16-row
// operand and X as the other. Their sums, exact in any order, meet in shared memory. One row of X whose
// share of W fits the ring needs no turns: see resident_matmul.cuh.
#pragma once

#include "../common/hopper.cuh"
#include "field_sums.cuh"
#include "resident_matmul.cuh"
#include "row_source.cuh"

namespace fewbit::cuda::bitnet {

constexpr int kBulkWarps = 16;
constexpr int kBulkThreads = kBulkWarps * 32;
constexpr int kMaxStages = 16;

// How a launch lays out its shared memory: the struct below, the stages, the columns' scales and
// residuals, and what the source of the rows keeps.
struct BulkPlan {
  int stages;        // a multiple of the teams, unless all of a share fits
  int row_stride;    // of a stage, as spread() gives it
  int column_bytes;  // of scales and residuals; a multiple of 16
};

template <class Source, int Teams>
struct BulkShape {
  static constexpr int kTeamWarps = kBulkWarps / Teams;
  static constexpr int kTeamThreads = kTeamWarps * 32;
  struct Shared {
    int32_t sums[Teams][2][kTeamWarps][Source::kRows][Source::kStageRows];
    uint64_t full[kMaxStages];
    RowTerms<Source::kRows> rows;
    RowStatistics scratch[kBulkWarps];

    // In the place of the others, for multiply_resident.
    __device__ __forceinline__ int32_t* column_sums() { return &sums[0][0][0][0][0]; }
  };
  static constexpr int kHeaderBytes = (sizeof(Shared) + 127) / 128 * 128;
};

template <int Threads>
__device__ __forceinline__ void sync_team(int team) {
  asm volatile("bar.sync %0, %1;" ::"r"(team + 1), "n"(Threads) : "memory");
}

// Two blocks fit a multiprocessor, so that one can read its weights while the other, of the kernel
// before, still runs.
template <class Source, int Teams>
__global__ __launch_bounds__(kBulkThreads, Source::kBlocks) void bulk_matmul(const Product p,
                                                                             const Source source,
                                                                             const BulkPlan plan) {
#if __CUDA_ARCH__ >= 900
  using Shape = BulkShape<Source, Teams>;
  constexpr int kStageRows = Source::kStageRows;
  extern __shared__ __align__(128) unsigned char shared_bytes[];
  auto& shared = *reinterpret_cast<typename Shape::Shared*>(shared_bytes);
  unsigned char* ring = shared_bytes + Shape::kHeaderBytes;
  const int stage_bytes = kStageRows * plan.row_stride;
  auto* scales = reinterpret_cast<float*>(ring + plan.stages * stage_bytes);
  unsigned char* codes = reinterpret_cast<unsigned char*>(scales) + plan.column_bytes;

  const int thread = threadIdx.x, lane = thread % 32;
  const int group = lane / 4, part = lane % 4;
  const int64_t first = p.columns * blockIdx.x / gridDim.x;
  const int count = static_cast<int>(p.columns * (blockIdx.x + 1) / gridDim.x - first);
  const int fills = (count + kStageRows - 1) / kStageRows;
  const int depth = static_cast<int>(p.depth), row_bytes = depth / 4;
  if (Source::kRows > 1) start_successor();
  const bool is_resident = Source::kRows == 1 && kStageRows == 16 && fills <= plan.stages;

  // By a warp.
  const auto fill = [&](int index, int stage) {
    if (index >= fills) return;
    const int start = index * kStageRows, rows = min(kStageRows, count - start);
    if (lane == 0) {
      hopper::arrive_expecting(shared.full[stage], static_cast<uint32_t>(rows * row_bytes));
    }
    __syncwarp();
    if (lane < rows) {
      hopper::copy_bytes(ring + stage * stage_bytes + lane * plan.row_stride,
                         p.weight + (first + start + lane) * row_bytes,
                         static_cast<uint32_t>(row_bytes), shared.full[stage]);
    }
  };
  const auto read_weights = [&] {
    // First what is small, which would else queue behind the rest.
    for (int i = thread; i < count; i += kBulkThreads) {
      copy_async<4>(scales + i, p.weight_scales + first + i);
    }
    source.template read_early<kBulkThreads>(codes);
    if (thread / 32 < plan.stages) fill(thread / 32, thread / 32);
  };

  if (thread % 32 == 0 && thread / 32 < plan.stages) {
    hopper::barrier_init(shared.full[thread / 32], 1);
    hopper::barrier_init_fence();
  }
  __syncwarp();
  if (is_resident && thread < count) shared.column_sums()[thread] = 0;
  const auto resident_share = ResidentShare::of_warp<kBulkWarps>(count, depth);
  if (p.weights_settled) read_weights();
  // Behind this block's own weights, which would else share the memory with the next kernel's.
  if (Source::kRows == 1) start_successor();
  wait_for_predecessor();
  if (!p.weights_settled) read_weights();
  // On their way while the rows are staged.
  float* residuals = scales + count;
  const int residual_count = p.residual ? static_cast<int>(p.rows) * count : 0;
  const auto residual = [&](int i) {
    return Source::kRows == 1 ? p.residual_at(0, first + i)
                              : p.residual_at(i / count, first + i % count);
  };
  const float own_residual = thread < residual_count ? residual(thread) : 0.0f;
  const int32_t code_sum =
      source.template stage<kBulkThreads>(p, codes, shared.rows, shared.scratch);
  if (!is_resident) {
#pragma unroll 1
    for (int i = thread; i < residual_count; i += kBulkThreads) {
      residuals[i] = i == thread ? own_residual : residual(i);
    }
  }
  copies_done();
  __syncthreads();
  source.template finish_stage<kBulkThreads>(shared.rows, shared.scratch, code_sum);

  if constexpr (Source::kRows == 1) {
    if (is_resident) {
      int32_t* sums = shared.column_sums();
      multiply_resident(sums, ring, plan.row_stride, shared.full, count, codes, resident_share);
      __syncthreads();
      if (thread < count) {
        p.store(0, first + thread,
                p.finish(sums[thread], shared.rows.code_sum[0], shared.rows.scale[0],
                         scales[thread], p.bias_at(first + thread)),
                own_residual);
      }
      return;
    }
  }
  // Teams meet no more.
  if constexpr (Source::kRows == 1) __syncthreads();
  const int team = thread / Shape::kTeamThreads, team_thread = thread % Shape::kTeamThreads;
  const int warp = team_thread / 32;
  // What this thread finishes in every stage of its team.
  constexpr int kResults = Source::kRows * kStageRows;
  constexpr int kOwn = (kResults + Shape::kTeamThreads - 1) / Shape::kTeamThreads;
  const int rows = static_cast<int>(p.rows), results = rows * kStageRows;
  const int steps = (depth + kTileDepth - 1) / kTileDepth;

  int stage = team, turn = 0;
  uint32_t phase = 0;
  for (int index = team; index < fills; index += Teams, turn ^= 1) {
    const unsigned char* pieces = ring + stage * stage_bytes + group * plan.row_stride;
    FieldSums sums;
    hopper::wait(shared.full[stage], phase);
    if constexpr (Source::kRows == 1) {
      // A stage of 8 rows stands in the tile twice, each time with the columns of another step.
      constexpr int kSegments = 16 / kStageRows;
      const int units = (steps + kSegments - 1) / kSegments;
      // Warps with a unit more than others are other ones in every stage.
#pragma unroll 1
      for (int unit = (warp + index * units) % Shape::kTeamWarps; unit < units;
           unit += Shape::kTeamWarps) {
        const int step = unit * kSegments;
        const auto* from = reinterpret_cast<const uint4*>(
            codes + min(step + group % kSegments, steps) * kTileDepth + part * 16);
        const uint4 x[4] = {from[0], from[4], from[8], from[12]};
        const unsigned char* piece = pieces + step * (kTileDepth / 4) + part * 16;
        sums.add_paired(*reinterpret_cast<const uint4*>(piece),
                        *reinterpret_cast<const uint4*>(kSegments == 1 ? piece + 8 * plan.row_stride
                                                                       : piece + kTileDepth / 4),
                        x);
      }
      if (part == 0) {
        int32_t(&own)[kStageRows] = shared.sums[team][turn][warp][0];
        if constexpr (kSegments == 1) {
          own[group] = sums.total(0);
          own[group + 8] = sums.total(2);
        } else {
          own[group] = sums.total(0) + sums.total(3);
        }
      }
    } else {
#pragma unroll 1
      for (int step = (warp + index * steps) % Shape::kTeamWarps; step < steps;
           step += Shape::kTeamWarps) {
        const int element = step * kTileDepth + part * 64;
        const bool inside = element < depth;
        uint4 x[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          x[i] = uint4{0, 0, 0, 0};
          if (inside && group < rows) {
            x[i] = reinterpret_cast<const uint4*>(codes + group * code_row_bytes(depth) +
                                                  step * kTileDepth)[i * 4 + part];
          }
        }
        // Past the end of K the codes are zeros, whatever the weights.
        const unsigned char* piece = pieces + (inside ? element / 4 : 0);
        sums.add(*reinterpret_cast<const uint4*>(piece),
                 *reinterpret_cast<const uint4*>(piece + 8 * plan.row_stride), x);
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int row = part * 2 + i;
        if (row >= rows) continue;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          shared.sums[team][turn][warp][row][half * 8 + group] = sums.total(half * 2 + i);
        }
      }
    }
    sync_team<Shape::kTeamThreads>(team);
    if (warp == 0) fill(index + plan.stages, stage);  // nobody reads the stage any more
    stage += Teams;
    if (stage >= plan.stages) {
      stage -= plan.stages;
      phase ^= 1;
    }
#pragma unroll
    for (int own = 0; own < kOwn; ++own) {
      const int i = own * Shape::kTeamThreads + team_thread;
      const int row = i / kStageRows, column = index * kStageRows + i % kStageRows;
      if (i >= results || column >= count) break;
      int32_t sum = 0;
#pragma unroll
      for (int w = 0; w < Shape::kTeamWarps; ++w) {
        sum += shared.sums[team][turn][w][row][i % kStageRows];
      }
      p.store(row, first + column,
              p.finish(sum, shared.rows.code_sum[row], shared.rows.scale[row], scales[column],
                       p.bias_at(first + column)),
              p.residual ? residuals[row * count + column] : 0.0f);
    }
  }
#endif
}

}  // namespace fewbit::cuda::bitnet
