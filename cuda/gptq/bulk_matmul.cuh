// x W^T with few-bit W for one row x on sm_90, limited by the bandwidth of the weights.
//
// Each block has an equal share of W's rows, 16 at a time (a tile, one operand of the mma; x is a
// column of the other). A tile's codes come in slices of K through a ring of stages in shared memory,
// by bulk copies: they need no registers, and are under way before the kernel's predecessor has ended.
// Of a slice each warp multiplies 128 positions. Two more warps serve them: one fills the
// stages; the other makes scales and zero points ready, adds up what the warps found of a tile, in
// fixed order, and stores it.
//
// Sums of a piece of 128 positions are of codes times x; the scale follows in f32, after the zero
// point's share, which is the sum of x over the piece. So groups must consist of whole pieces.
#pragma once

#include "../common/dependency.cuh"
#include "../common/hopper.cuh"
#include "../common/reduce.cuh"
#include "fields.cuh"

namespace fewbit::cuda::gptq {

constexpr int kBulkWarps = 16;  // that multiply
constexpr int kBulkMultipliers = kBulkWarps * 32;
constexpr int kBulkThreads = kBulkMultipliers + 2 * 32;
constexpr int kBulkTile = 16;  // rows of W
constexpr int kBulkPiece = 4 * kChunk;
constexpr int kSlice = kBulkWarps * kBulkPiece;  // positions
constexpr int kMaxStages = 12;                   // and slots

// A slice of a tile: boxes of 128 bytes of its 16 rows, swizzled by the copies.
template <int Bits>
struct BulkSlice {
  static constexpr int kWidth = plane_width(Bits);
  static constexpr int kBoxBytes = kBulkTile * 128;
  static constexpr int kLowBoxes = kSlice * kWidth / 8 / 128;
  static constexpr int kHighBoxes = Bits == 3 ? kSlice / 8 / 128 : 0;
  static constexpr int kStageBytes = (kLowBoxes + kHighBoxes) * kBoxBytes;
};

// How a launch lays out its shared memory: the struct below, the stages at a multiple of 1024 bytes,
// then these.
struct BulkPlan {
  int stages;
  int slots;         // tiles under way: enough that a stage's next tile finds one free
  int scales_bytes;  // of a tile, a multiple of 16
  int zeros_bytes;   // likewise
  int pieces;        // of a row
  int slices;
};

struct BulkShared {
  uint64_t full[kMaxStages], empty[kMaxStages];
  uint64_t came[kMaxStages],
      ready[kMaxStages];      // a slot's grids: as in memory, for the multipliers
  uint64_t done[kMaxStages];  // and its sums
};

// A scale in its own type, and its zero point in f16, which holds it exactly.
struct alignas(4) BulkGrid {
  uint16_t scale;
  __half zero;

  __device__ __forceinline__ float scale_of(bool is_bf16) const {
    return is_bf16 ? __uint_as_float(uint32_t{scale} << 16) : __half2float(__ushort_as_half(scale));
  }
};
// From one piece's grids to the next: threads that write, or read, side by side use all banks.
constexpr int kGridStride = kBulkTile + 1;

// Where lanes 4i .. 4i + 3 find their row of eight: those that load at the same time are then in
// different banks, whatever the width.
__device__ __forceinline__ int tile_row_of(int group) {
  return (group & 1) * 4 + (group & 2) + group / 4;
}

// The chunk of a thread in a row of a stage, piece * 4 + part; half: of the tile.
template <int Bits>
__device__ __forceinline__ Chunk<Bits> staged_chunk(uint32_t stage, int row, int chunk) {
  using Slice = BulkSlice<Bits>;
  const auto at = [&](int byte) {
    return static_cast<uint32_t>(byte / 128 * Slice::kBoxBytes + row * 128 +
                                 ((byte % 128) ^ (row % 8 * 16)));
  };
  Chunk<Bits> result;
  const int low = chunk * (kChunk * Slice::kWidth / 8);
  if constexpr (Slice::kWidth == 2) {
    const uint2 two = load_shared_two(stage + at(low));
    result.words[0] = two.x;
    result.words[1] = two.y;
  } else {
#pragma unroll
    for (int i = 0; i < Slice::kWidth; i += 4) {
      const uint4 four = load_shared_four(stage + at(low + i * 4));
      result.words[i] = four.x;
      result.words[i + 1] = four.y;
      result.words[i + 2] = four.z;
      result.words[i + 3] = four.w;
    }
  }
  if constexpr (Bits == 3) {
    result.high =
        load_shared(stage + Slice::kLowBoxes * Slice::kBoxBytes + at(chunk * (kChunk / 8)));
  }
  return result;
}

// Position in a ring of `size`, and the parity of its barriers' phase.
struct RingPosition {
  int at = 0;
  uint32_t phase = 0;
  __device__ __forceinline__ void step(int size) {
    if (++at == size) {
      at = 0;
      phase ^= 1;
    }
  }
};

template <class T, int Bits>
__global__ __launch_bounds__(kBulkThreads,
                             2) void bulk_matmul(const __grid_constant__ CUtensorMap low_map,
                                                 const __grid_constant__ CUtensorMap high_map,
                                                 const LinearGptq p, const BulkPlan plan,
                                                 const float to_group) {
#if __CUDA_ARCH__ >= 900
  using Slice = BulkSlice<Bits>;
  using namespace hopper;
  extern __shared__ unsigned char shared_bytes[];
  // In a way that leaves the compiler knowing what memory this is.
  unsigned char* ring = shared_bytes + (-shared_address(shared_bytes) & 1023u);
  auto& shared = *reinterpret_cast<BulkShared*>(ring + plan.stages * Slice::kStageBytes);
  auto* scales = reinterpret_cast<unsigned char*>(&shared + 1);  // as in memory
  unsigned char* zeros = scales + plan.slots * plan.scales_bytes;
  unsigned char* x = zeros + plan.slots * plan.zeros_bytes;
  auto* x_sums = reinterpret_cast<float*>(x + plan.pieces * kBulkPiece * 2);  // of each piece
  const int grid_count = plan.pieces * kGridStride;
  auto* grids = reinterpret_cast<BulkGrid*>(x_sums + plan.pieces);         // [slots][pieces][rows]
  auto* sums = reinterpret_cast<float*>(grids + plan.slots * grid_count);  // [slots][warps][tile]

  const Weight& w = p.weight;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t tiles = w.rows / kBulkTile;
  const auto first_tile = static_cast<int>(tiles * blockIdx.x / gridDim.x);
  const int own_tiles = static_cast<int>(tiles * (blockIdx.x + 1) / gridDim.x) - first_tile;
  start_successor();
  if (warp == kBulkWarps && lane == 0) {
    prefetch_map(low_map);
    if (Bits == 3) prefetch_map(high_map);
    for (int i = 0; i < plan.stages; ++i) {
      barrier_init(shared.full[i], 1);
      barrier_init(shared.empty[i], kBulkWarps);
    }
    for (int i = 0; i < plan.slots; ++i) {
      barrier_init(shared.came[i], 1);
      barrier_init(shared.ready[i], 32);
      barrier_init(shared.done[i], kBulkWarps * 8);
    }
    barrier_init_fence();
  }
  __syncthreads();

  if (warp == kBulkWarps) {
    // Weights may be read before the kernel's predecessor has ended: they are constants of a captured
    // graph, and outside of one the launch does not overlap.
    if (lane == 0) {
      RingPosition stage;
      int slot = 0, filled = 0;
      for (int tile = 0; tile < own_tiles; ++tile) {
        const int row = (first_tile + tile) * kBulkTile;
        for (int slice = 0; slice < plan.slices; ++slice) {
          if (filled >= plan.stages) wait(shared.empty[stage.at], stage.phase ^ 1);
          uint64_t& full = shared.full[stage.at];
          const auto boxes_of = [&](int width, int most) {
            const auto bytes = static_cast<int>(w.row_bytes(width)) - slice * most * 128;
            return min(most, (bytes + 127) / 128);
          };
          const int low_boxes = boxes_of(Slice::kWidth, Slice::kLowBoxes);
          const int high_boxes = Bits == 3 ? boxes_of(1, Slice::kHighBoxes) : 0;
          arrive_expecting(full, (low_boxes + high_boxes) * Slice::kBoxBytes);
          unsigned char* to = ring + stage.at * Slice::kStageBytes;
          for (int i = 0; i < low_boxes; ++i) {
            copy_box(to + i * Slice::kBoxBytes, low_map, full, (slice * Slice::kLowBoxes + i) * 128,
                     row);
          }
          for (int i = 0; i < high_boxes; ++i) {
            copy_box(to + (Slice::kLowBoxes + i) * Slice::kBoxBytes, high_map, full,
                     (slice * Slice::kHighBoxes + i) * 128, row);
          }
          if (slice == 0) {
            const int64_t at = int64_t{row} * w.groups;
            uint64_t& came = shared.came[slot];
            arrive_expecting(came, plan.scales_bytes + plan.zeros_bytes);
            copy_bytes(scales + slot * plan.scales_bytes,
                       static_cast<const uint16_t*>(w.scales) + at, plan.scales_bytes, came);
            copy_bytes(zeros + slot * plan.zeros_bytes, w.zeros + at, plan.zeros_bytes, came);
          }
          stage.step(plan.stages);
          ++filled;
        }
        if (++slot == plan.slots) slot = 0;
      }
    }
    wait_for_predecessor();
    return;
  }

  if (warp > kBulkWarps) {
    const auto prepare_grids = [&](int slot, uint32_t phase) {
      wait(shared.came[slot], phase);
      const auto* from = reinterpret_cast<const uint16_t*>(scales + slot * plan.scales_bytes);
      const unsigned char* from_zeros = zeros + slot * plan.zeros_bytes;
      const int row = lane % kBulkTile;
#pragma unroll 4
      for (int piece = lane / kBulkTile; piece < plan.pieces; piece += 32 / kBulkTile) {
        const int at =
            row * w.groups + static_cast<int>((static_cast<float>(piece) + 0.5f) * to_group);
        grids[slot * grid_count + piece * kGridStride + row] =
            BulkGrid{from[at], __float2half_rn(static_cast<float>(from_zeros[at]))};
      }
      arrive(shared.ready[slot]);
    };
    for (int tile = 0; tile < min(plan.slots, own_tiles); ++tile) prepare_grids(tile, 0);
    wait_for_predecessor();
    RingPosition slot;
    for (int tile = 0; tile < own_tiles; ++tile) {
      wait(shared.done[slot.at], slot.phase);
      if (lane < kBulkTile) {
        const float* from = sums + slot.at * kBulkWarps * kBulkTile + lane;
        float value = 0;
#pragma unroll
        for (int other = 0; other < kBulkWarps; ++other) value += from[other * kBulkTile];
        const int column = (first_tile + tile) * kBulkTile + lane;
        if (p.bias) value += load_float(p.bias, p.bias_dtype, column);
        store_float(p.out, p.out_dtype, column, activate(value, p.activation));
      }
      __syncwarp();
      if (tile + plan.slots < own_tiles) prepare_grids(slot.at, slot.phase ^ 1);
      slot.step(plan.slots);
    }
    return;
  }

  // x in shared memory, in the order of the loads below: of a piece the first eight positions of each
  // lane, then the next. And its sums.
  constexpr int kPieceUnits = kBulkPiece / 8;  // of 16 bytes
  const int units = plan.pieces * kPieceUnits;
  wait_for_predecessor();
  for (int first = 0; first < units; first += kBulkMultipliers) {
    const int unit = first + static_cast<int>(threadIdx.x);
    Vector<T> values{};
    if (unit < units && unit * 8 < p.depth) {
      values = load_vector(static_cast<const T*>(p.x) + unit * 8);
    }
    float sum = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) sum += to_float(values.value[i]);
#pragma unroll
    for (int offset = kPieceUnits / 2; offset > 0; offset /= 2) {
      sum += __shfl_xor_sync(kFullWarp, sum, offset);
    }
    if (unit < units) {
      const int piece = unit / kPieceUnits, in_piece = unit % kPieceUnits;
      const int at = piece * kPieceUnits + in_piece % 4 * 4 + in_piece / 4;
      store_vector(reinterpret_cast<T*>(x + at * 16), values);
      if (in_piece == 0) x_sums[piece] = sum;
    }
  }
  named_sync<1, kBulkMultipliers>();

  const int group = lane / 4, part = lane % 4, tile_row = tile_row_of(group);
  uint32_t columns[kPairs] = {};  // x in the operand's first column, zeros in the others
  const uint32_t x_of = shared_address(x) + part * 16;
  const bool is_bf16 = w.scales_dtype == DType::BF16;
  RingPosition stage, slot;
  for (int tile = 0; tile < own_tiles; ++tile) {
    float totals[2] = {};
    wait(shared.ready[slot.at], slot.phase);
    for (int piece = warp; piece < plan.slices * kBulkWarps; piece += kBulkWarps) {
      wait(shared.full[stage.at], stage.phase);
      if (piece < plan.pieces) {
        const uint32_t codes = shared_address(ring + stage.at * Slice::kStageBytes);
        const Chunk<Bits> upper = staged_chunk<Bits>(codes, tile_row, warp * 4 + part),
                          lower = staged_chunk<Bits>(codes, tile_row + 8, warp * 4 + part);
        if (group == 0) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const uint4 four = load_shared_four(x_of + (piece * kPieceUnits + i * 4) * 16);
            columns[4 * i] = four.x;
            columns[4 * i + 1] = four.y;
            columns[4 * i + 2] = four.z;
            columns[4 * i + 3] = four.w;
          }
        }
        FieldProduct<T, Bits> product;
        product.add(upper, lower, columns);
        const BulkGrid* own = grids + slot.at * grid_count + piece * kGridStride + tile_row;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float scale = own[half * 8].scale_of(is_bf16);
          const float zero = to_float(own[half * 8].zero) + FieldProduct<T, Bits>::kOffset;
          totals[half] += scale * fmaf(-zero, x_sums[piece], product.sum(half * 2));
        }
      }
      __syncwarp();
      if (lane == 0) arrive(shared.empty[stage.at]);
      stage.step(plan.stages);
    }
    if (part == 0) {
      float* to = sums + (slot.at * kBulkWarps + warp) * kBulkTile + tile_row;
      to[0] = totals[0];
      to[8] = totals[1];
      arrive(shared.done[slot.at]);
    }
    slot.step(plan.slots);
  }
#endif
}

}  // namespace fewbit::cuda::gptq
