// linear_bitnet for few rows of X, limited by the bandwidth of the weights.
//
// One block to a multiprocessor, each with an equal share of the rows of W. A share is a contiguous
// piece of memory, which bulk copies bring through a ring of stages in shared memory: they need no
// registers, and are under way before the kernel's predecessor has ended. The warps form teams, which
// take turns at the stages. Those of a team split K: each multiplies its columns of all rows of a
// stage on the tensor cores, W as the 16-row operand and eight rows of X as the other. Their sums,
// exact in any order, meet in shared memory.
#pragma once

#include "../common/dependency.cuh"
#include "../common/hopper.cuh"
#include "../common/mma.cuh"
#include "row_source.cuh"
#include "unpack.cuh"

namespace fewbit::cuda::bitnet {

constexpr int kBulkWarps = 16;
constexpr int kBulkThreads = kBulkWarps * 32;
constexpr int kMaxStages = 16;
constexpr int kTileDepth = 256;  // of K in a warp's step: 64 columns for each of four lanes

// How a launch lays out its shared memory: the struct below, the stages, the columns' terms, and what
// the source of the rows keeps.
struct BulkPlan {
  int stages;       // a multiple of the teams, unless all of a share fits
  int pitch;        // bytes from row to row of W within a stage
  int terms_bytes;  // a multiple of 16
  int piece;
};

struct ColumnTerm {
  float scale, bias;
};

// StageRows: of W in a stage; 8, or a multiple of 16. Groups: rows of X, in eights.
template <int StageRows, int Groups, int Teams>
struct BulkShape {
  static constexpr int kTiles = (StageRows + 15) / 16;
  static constexpr int kRows = Groups * 8;
  static constexpr int kTeamWarps = kBulkWarps / Teams;
  static constexpr int kTeamThreads = kTeamWarps * 32;
  struct Shared {
    int32_t sums[Teams][2][kTeamWarps][kRows][StageRows];
    uint64_t full[kMaxStages];
    RowStatistics scratch[2][kBulkWarps];
    float scales[kRows];
    int32_t code_sums[kRows];
    uint32_t readers;
  };
  static constexpr int kHeaderBytes = (sizeof(Shared) + 127) / 128 * 128;
};

// The 64 codes of a row of X that a lane multiplies, or zeros.
__device__ __forceinline__ void load_codes(uint4 (&codes)[4], const int8_t* rows, const Product& p,
                                           int row, int64_t column) {
  const bool there = row < p.rows && column < p.depth;
  const auto* from = reinterpret_cast<const uint4*>(rows + row * p.depth + column);
#pragma unroll
  for (int i = 0; i < 4; ++i) codes[i] = there ? from[i] : uint4{0, 0, 0, 0};
}

// Adds the products of 16 bytes of two rows of W, eight apart, and 64 codes of rows of X.
template <int Groups>
__device__ __forceinline__ void multiply_piece(int32_t (&even)[Groups][4],
                                               int32_t (&odd_times_four)[Groups][4],
                                               const uint4& upper, const uint4& lower,
                                               const uint4 (&codes)[Groups][4]) {
  const uint32_t upper_words[4] = {upper.x, upper.y, upper.z, upper.w};
  const uint32_t lower_words[4] = {lower.x, lower.y, lower.z, lower.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const FieldPairs u = unpack_pairs(upper_words[i]), l = unpack_pairs(lower_words[i]);
#pragma unroll
    for (int group = 0; group < Groups; ++group) {
      const uint4& x = codes[group][i];
      Mma<int8_t>::multiply(even[group], u.even[0], l.even[0], u.even[1], l.even[1], x.x, x.z);
      Mma<int8_t>::multiply(odd_times_four[group], u.odd_times_four[0], l.odd_times_four[0],
                            u.odd_times_four[1], l.odd_times_four[1], x.y, x.w);
    }
  }
}

template <int Threads>
__device__ __forceinline__ void sync_team(int team) {
  asm volatile("bar.sync %0, %1;" ::"r"(team + 1), "n"(Threads) : "memory");
}

template <class Source, int StageRows, int Groups, int Teams>
__global__ __launch_bounds__(kBulkThreads,
                             Groups == 1 ? 2 : 1) void bulk_matmul(const Product p,
                                                                   const Source source,
                                                                   const BulkPlan plan) {
#if __CUDA_ARCH__ >= 900
  using Shape = BulkShape<StageRows, Groups, Teams>;
  extern __shared__ __align__(128) unsigned char shared_bytes[];
  auto& shared = *reinterpret_cast<typename Shape::Shared*>(shared_bytes);
  unsigned char* ring = shared_bytes + Shape::kHeaderBytes;
  const int stage_bytes = StageRows * plan.pitch;
  auto* terms = reinterpret_cast<ColumnTerm*>(ring + plan.stages * stage_bytes);

  unsigned char* source_bytes = reinterpret_cast<unsigned char*>(terms) + plan.terms_bytes;

  const int thread = threadIdx.x, lane = thread % 32;
  const int group = lane / 4, part = lane % 4;
  const int64_t first = p.columns * blockIdx.x / gridDim.x;
  const int count = static_cast<int>(p.columns * (blockIdx.x + 1) / gridDim.x - first);
  const int fills = (count + StageRows - 1) / StageRows;
  const auto row_bytes = static_cast<uint32_t>(p.row_bytes());
  start_successor();

  // By a warp: a lane copies a row.
  const auto fill = [&](int index) {
    if (index >= fills) return;
    const int stage = index % plan.stages, start = index * StageRows;
    const int rows = min(StageRows, count - start);
    if (lane == 0) hopper::arrive_expecting(shared.full[stage], rows * row_bytes);
    __syncwarp();
    if (plan.piece) {
      const int bytes = rows * static_cast<int>(row_bytes);
      const uint8_t* from = p.weight + (first + start) * row_bytes;
      for (int at = lane * plan.piece; at < bytes; at += 32 * plan.piece) {
        hopper::copy_bytes(ring + stage * stage_bytes + at, from + at,
                           static_cast<uint32_t>(min(plan.piece, bytes - at)), shared.full[stage]);
      }
    } else if (lane < rows) {
      hopper::copy_bytes(ring + stage * stage_bytes + lane * plan.pitch,
                         p.weight + (first + start + lane) * row_bytes, row_bytes,
                         shared.full[stage]);
    }
  };
  const auto read_weights = [&] {
    if (thread < 32) {
      for (int index = 0; index < plan.stages; ++index) fill(index);
    }
    for (int i = thread; i < count; i += kBulkThreads) {
      terms[i] = {p.weight_scales[first + i], p.bias_at(first + i)};
    }
  };

  if (thread < 32) {
    if (lane < plan.stages) hopper::barrier_init(shared.full[lane], 1);
    hopper::barrier_init_fence();
    __syncwarp();
  }
  if (Source::kQuantizes && thread < Shape::kRows) shared.code_sums[thread] = 0;
  if (p.weights_settled) read_weights();
  typename Source::Early early;
  if constexpr (Source::kQuantizes) {
    if (p.weights_settled) source.template load_norm<kBulkThreads>(early);
  }
  wait_for_predecessor();
  if (!p.weights_settled) read_weights();
  if constexpr (!Source::kQuantizes) {
    if (thread < p.rows) {
      shared.scales[thread] = p.scales[thread];
      shared.code_sums[thread] = p.sums[thread];
    }
  }
  __syncthreads();
  uint32_t earlier_readers = 0;
  if constexpr (Source::kQuantizes) {
    if (!p.weights_settled) source.template load_norm<kBulkThreads>(early);
    source.template quantize<kBulkThreads>(source_bytes, shared.scales, shared.code_sums,
                                           shared.scratch[0], early);
    if (source.q.residual && thread == 0) earlier_readers = source.done_reading();
  }
  const int8_t* rows_of_codes = source.codes(p, source_bytes);

  const int team = thread / Shape::kTeamThreads, team_thread = thread % Shape::kTeamThreads;
  const int warp = team_thread / 32;
  // What this thread finishes in every stage of its team.
  constexpr int kOwn = (Shape::kRows * StageRows + Shape::kTeamThreads - 1) / Shape::kTeamThreads;
  const int results = static_cast<int>(p.rows) * StageRows;
  const int steps = static_cast<int>((p.depth + kTileDepth - 1) / kTileDepth);

  int turn = 0;
  for (int index = team; index < fills; index += Teams, turn ^= 1) {
    const int stage = index % plan.stages;
    int32_t even[Shape::kTiles][Groups][4] = {}, odd_times_four[Shape::kTiles][Groups][4] = {};
    bool arrived = false;
#pragma unroll 1
    for (int step = warp; step < steps; step += Shape::kTeamWarps) {
      const int64_t element = int64_t{step} * kTileDepth + part * 64;
      uint4 codes[Groups][4];
#pragma unroll
      for (int i = 0; i < Groups; ++i)
        load_codes(codes[i], rows_of_codes, p, i * 8 + group, element);
      if (!arrived) hopper::wait(shared.full[stage], index / plan.stages & 1);
      arrived = true;
      // Past the end of K the codes are zeros, whatever the weights.
      const auto* pieces =
          ring + stage * stage_bytes + group * plan.pitch + (element < p.depth ? element / 4 : 0);
#pragma unroll
      for (int tile = 0; tile < Shape::kTiles; ++tile) {
        const auto piece_of = [&](int row) {
          return *reinterpret_cast<const uint4*>(pieces + row * plan.pitch);
        };
        const uint4 upper = piece_of(tile * 16);
        const uint4 lower = StageRows > 8 ? piece_of(tile * 16 + 8) : uint4{0, 0, 0, 0};
        multiply_piece(even[tile], odd_times_four[tile], upper, lower, codes);
      }
    }
#pragma unroll
    for (int i = 0; i < Groups * 2; ++i) {
      const int row = i / 2 * 8 + part * 2 + i % 2;
      if (row >= p.rows) continue;
#pragma unroll
      for (int eight = 0; eight < StageRows / 8; ++eight) {
        const int at = eight % 2 * 2 + i % 2;
        // The shift is exact.
        shared.sums[team][turn][warp][row][eight * 8 + group] =
            even[eight / 2][i / 2][at] + (odd_times_four[eight / 2][i / 2][at] >> 2);
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
      p.store(row, first + column,
              p.finish(sum, shared.code_sums[row], shared.scales[row], term.scale, term.bias));
    }
  }
  if constexpr (Source::kQuantizes) {
    if (!source.q.residual) return;
    if (thread == 0) shared.readers = earlier_readers;
    __syncthreads();
    if (shared.readers == gridDim.x - 1) source.template store_residual<kBulkThreads>(source_bytes);
  }
#endif
}

}  // namespace fewbit::cuda::bitnet
