// linear_bitnet for up to eight rows of X, limited by the bandwidth of the weights.
//
// One block to a multiprocessor, each with an equal share of the rows of W. A share is a contiguous
// piece of memory, which bulk copies bring through a ring of stages in shared memory: they need no
// registers, and are under way before the kernel's predecessor has ended. The warps form teams, which
// take turns at the stages. Those of a team split K: each multiplies its columns of all rows of a
// stage on the tensor cores, W as the 16-row operand and X as the other. Their sums, exact in any
// order, meet in shared memory.
#pragma once

#include "../common/hopper.cuh"
#include "../common/mma.cuh"
#include "row_source.cuh"
#include "unpack.cuh"

namespace fewbit::cuda::bitnet {

constexpr int kBulkRows = 8;
constexpr int kBulkWarps = 16;
constexpr int kBulkThreads = kBulkWarps * 32;
constexpr int kMaxStages = 16;
constexpr int kTileDepth = 256;   // of K in a warp's step: 64 columns for each of four lanes
constexpr int kCopyBytes = 2048;  // of one bulk copy

// How a launch lays out its shared memory: the struct below, the stages, the columns' terms, and what
// the source of the rows keeps.
struct BulkPlan {
  int stages;       // a multiple of the teams, unless all of a share fits
  int stage_bytes;  // a multiple of 16
  int terms_bytes;  // likewise
};

struct ColumnTerm {
  float scale, bias;
};

// StageRows: of W in a stage, a multiple of 16.
template <int StageRows, int Teams>
struct BulkShape {
  static constexpr int kTiles = StageRows / 16;
  static constexpr int kTeamWarps = kBulkWarps / Teams;
  static constexpr int kTeamThreads = kTeamWarps * 32;
  struct Shared {
    int32_t sums[Teams][2][kTeamWarps][kBulkRows][StageRows];
    uint64_t full[kMaxStages];
    RowTerms<kBulkRows> rows;
    RowStatistics scratch[kBulkWarps];
    uint32_t earlier_readers;
  };
  static constexpr int kHeaderBytes = (sizeof(Shared) + 127) / 128 * 128;
};

// Adds the products of 16 bytes of two rows of W, eight apart, and 64 codes of rows of X.
__device__ __forceinline__ void multiply_piece(int32_t (&even)[4], int32_t (&odd_times_four)[4],
                                               const uint4& upper, const uint4& lower,
                                               const uint4 (&codes)[4]) {
  const uint32_t upper_words[4] = {upper.x, upper.y, upper.z, upper.w};
  const uint32_t lower_words[4] = {lower.x, lower.y, lower.z, lower.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const FieldPairs u = unpack_pairs(upper_words[i]), l = unpack_pairs(lower_words[i]);
    Mma<int8_t>::multiply(even, u.even[0], l.even[0], u.even[1], l.even[1], codes[i].x, codes[i].z);
    Mma<int8_t>::multiply(odd_times_four, u.odd_times_four[0], l.odd_times_four[0],
                          u.odd_times_four[1], l.odd_times_four[1], codes[i].y, codes[i].w);
  }
}

template <int Threads>
__device__ __forceinline__ void sync_team(int team) {
  asm volatile("bar.sync %0, %1;" ::"r"(team + 1), "n"(Threads) : "memory");
}

// Two blocks fit a multiprocessor, so that one can read its weights while the other, of the kernel
// before, still runs.
template <class Source, int StageRows, int Teams>
__global__ __launch_bounds__(kBulkThreads, 2) void bulk_matmul(const Product p, const Source source,
                                                               const BulkPlan plan) {
#if __CUDA_ARCH__ >= 900
  using Shape = BulkShape<StageRows, Teams>;
  extern __shared__ __align__(128) unsigned char shared_bytes[];
  auto& shared = *reinterpret_cast<typename Shape::Shared*>(shared_bytes);
  unsigned char* ring = shared_bytes + Shape::kHeaderBytes;
  auto* terms = reinterpret_cast<ColumnTerm*>(ring + plan.stages * plan.stage_bytes);
  unsigned char* codes = reinterpret_cast<unsigned char*>(terms) + plan.terms_bytes;

  const int thread = threadIdx.x, lane = thread % 32;
  const int group = lane / 4, part = lane % 4;
  const int64_t first = p.columns * blockIdx.x / gridDim.x;
  const int count = static_cast<int>(p.columns * (blockIdx.x + 1) / gridDim.x - first);
  const int fills = (count + StageRows - 1) / StageRows;
  const int depth = static_cast<int>(p.depth), row_bytes = depth / 4;
  start_successor();

  // By a warp.
  const auto fill = [&](int index) {
    if (index >= fills) return;
    const int stage = index % plan.stages, start = index * StageRows;
    const int bytes = min(StageRows, count - start) * row_bytes;
    const uint8_t* from = p.weight + (first + start) * row_bytes;
    if (lane == 0) hopper::arrive_expecting(shared.full[stage], static_cast<uint32_t>(bytes));
    __syncwarp();
    for (int at = lane * kCopyBytes; at < bytes; at += 32 * kCopyBytes) {
      hopper::copy_bytes(ring + stage * plan.stage_bytes + at, from + at,
                         static_cast<uint32_t>(min(kCopyBytes, bytes - at)), shared.full[stage]);
    }
  };
  const auto read_weights = [&] {
    if (thread < 32) {
      for (int index = 0; index < plan.stages; ++index) fill(index);
    }
    for (int i = thread; i < count; i += kBulkThreads) {
      terms[i] = {p.weight_scales[first + i], p.bias_at(first + i)};
    }
    source.template read_early<kBulkThreads>(codes);
  };

  if (thread < 32) {
    if (lane < plan.stages) hopper::barrier_init(shared.full[lane], 1);
    hopper::barrier_init_fence();
    __syncwarp();
  }
  if (p.weights_settled) read_weights();
  wait_for_predecessor();
  if (!p.weights_settled) read_weights();
  source.template stage<kBulkThreads>(p, codes, shared.rows, shared.scratch);
  __syncthreads();
  uint32_t earlier_readers = 0;
  if constexpr (Source::kUpdatesResidual) {
    if (source.q.residual && thread == 0) earlier_readers = source.done_reading();
  }

  const int team = thread / Shape::kTeamThreads, team_thread = thread % Shape::kTeamThreads;
  const int warp = team_thread / 32;
  // What this thread finishes in every stage of its team.
  constexpr int kOwn = (kBulkRows * StageRows + Shape::kTeamThreads - 1) / Shape::kTeamThreads;
  const int rows = static_cast<int>(p.rows), results = rows * StageRows;
  const int steps = (depth + kTileDepth - 1) / kTileDepth;

  int turn = 0;
  for (int index = team; index < fills; index += Teams, turn ^= 1) {
    const int stage = index % plan.stages;
    int32_t even[Shape::kTiles][4] = {}, odd_times_four[Shape::kTiles][4] = {};
    hopper::wait(shared.full[stage], index / plan.stages & 1);
#pragma unroll 1
    for (int step = warp; step < steps; step += Shape::kTeamWarps) {
      const int element = step * kTileDepth + part * 64;
      const bool inside = element < depth;
      uint4 x[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        x[i] = uint4{0, 0, 0, 0};
        if (inside && group < rows) {
          x[i] = reinterpret_cast<const uint4*>(codes + group * depth + element)[i];
        }
      }
      // Past the end of K the codes are zeros, whatever the weights.
      const unsigned char* pieces =
          ring + stage * plan.stage_bytes + group * row_bytes + (inside ? element / 4 : 0);
#pragma unroll
      for (int tile = 0; tile < Shape::kTiles; ++tile) {
        const auto piece_of = [&](int row) {
          return *reinterpret_cast<const uint4*>(pieces + row * row_bytes);
        };
        const uint4 upper = piece_of(tile * 16), lower = piece_of(tile * 16 + 8);
        multiply_piece(even[tile], odd_times_four[tile], upper, lower, x);
      }
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = part * 2 + i;
      if (row >= rows) continue;
#pragma unroll
      for (int eight = 0; eight < StageRows / 8; ++eight) {
        const int at = eight % 2 * 2 + i;
        // The shift is exact.
        shared.sums[team][turn][warp][row][eight * 8 + group] =
            even[eight / 2][at] + (odd_times_four[eight / 2][at] >> 2);
      }
    }
    sync_team<Shape::kTeamThreads>(team);
    if (warp == 0) fill(index + plan.stages);  // nobody reads the stage any more
#pragma unroll
    for (int own = 0; own < kOwn; ++own) {
      const int i = own * Shape::kTeamThreads + team_thread;
      const int row = i / StageRows, column = index * StageRows + i % StageRows;
      if (i >= results || column >= count) break;
      int32_t sum = 0;
#pragma unroll
      for (int w = 0; w < Shape::kTeamWarps; ++w) {
        sum += shared.sums[team][turn][w][row][i % StageRows];
      }
      const ColumnTerm term = terms[column];
      p.store(
          row, first + column,
          p.finish(sum, shared.rows.code_sum[row], shared.rows.scale[row], term.scale, term.bias));
    }
  }
  if constexpr (Source::kUpdatesResidual) {
    if (!source.q.residual) return;
    if (thread == 0) shared.earlier_readers = earlier_readers;
    __syncthreads();
    if (shared.earlier_readers == gridDim.x - 1) {
      source.template store_residual<kBulkThreads>(codes);
    }
  }
#endif
}

}  // namespace fewbit::cuda::bitnet
