// X W^T with few-bit W for few rows of X on sm_90: stream_matmul with codes and x through rings of bulk
// copies. They ask for whole lines of x, begin before the kernel's predecessor has ended, and leave
// registers and memory to a second block on each multiprocessor, often one of the next kernel. The same
// sums in the same order, so the same bits.
//
// A block owns 16 * RowTiles rows of W; its warps split K into pieces of 128 positions, and each has a
// ring of its own, which one of its lanes fills. Groups must consist of whole pieces.
#pragma once

#include "../common/dependency.cuh"
#include "../common/hopper.cuh"
#include "../common/mma.cuh"
#include "../common/ring_position.cuh"
#include "ring_shape.cuh"
#include "unpacker.cuh"

namespace fewbit::cuda::gptq {

template <class T, int Bits, int RowTiles, int BatchTiles, int Stages>
__global__ __launch_bounds__(kRingThreads,
                             2) void ring_matmul(const __grid_constant__ CUtensorMap low_map,
                                                 const __grid_constant__ CUtensorMap high_map,
                                                 const __grid_constant__ CUtensorMap x_map,
                                                 const LinearGptq p, const float to_group) {
#if __CUDA_ARCH__ >= 900
  using Shape = RingShape<Bits, RowTiles, BatchTiles, Stages>;
  using namespace hopper;
  extern __shared__ unsigned char shared_bytes[];
  unsigned char* ring = shared_bytes + (-shared_address(shared_bytes) & 1023u);
  auto* barriers = reinterpret_cast<uint64_t*>(ring + Shape::kRingBytes);
  uint64_t& grids_came = barriers[Shape::kPlaces];
  auto* scales = reinterpret_cast<uint16_t*>(barriers + Shape::kBarriers);  // [columns][groups]

  const Weight& w = p.weight;
  auto* zeros = reinterpret_cast<unsigned char*>(scales + Shape::kColumns * w.groups);
  const int warp = warp_number(), lane = threadIdx.x % 32;
  const int group = lane / 4, part = lane % 4;
  const int first_column = static_cast<int>(blockIdx.x) * Shape::kColumns;
  const int pieces = static_cast<int>((w.positions + kBulkPiece - 1) / kBulkPiece);
  const int rows = static_cast<int>(p.rows);
  const int place = warp * Stages;
  uint64_t* full = barriers + place;

  const auto copy_codes = [&](int piece, int stage) {
    uint64_t& barrier = full[stage];
    arrive_expecting(barrier, Shape::kLowBytes + Shape::kHighBytes + 2 * rows * 128);
    copy_box(ring + (place + stage) * Shape::kLowBytes, low_map, barrier, piece * Shape::kLowRow,
             first_column);
    if constexpr (Bits == 3) {
      copy_box(ring + Shape::kPlaces * Shape::kLowBytes + (place + stage) * Shape::kHighBytes,
               high_map, barrier, piece * Shape::kHighRow, first_column);
    }
  };
  const auto copy_x = [&](int piece, int stage) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      copy_box(ring + Shape::kXAt + half * Shape::kXHalf + (place + stage) * Shape::kXBytes, x_map,
               full[stage], piece * kBulkPiece * 2 + half * 128, 0);
    }
  };

  start_successor();
  if (threadIdx.x == 0) {
    barrier_init(grids_came, 1);
    barrier_init_fence();
    const int columns = min(Shape::kColumns, static_cast<int>(w.rows) - first_column);
    const int64_t first = int64_t{first_column} * w.groups;
    const auto count = static_cast<uint32_t>(columns * w.groups);
    arrive_expecting(grids_came, count * 3);
    copy_bytes(scales, static_cast<const uint16_t*>(w.scales) + first, count * 2, grids_came);
    copy_bytes(zeros, w.zeros + first, count, grids_came);
  }
  // Weights may be read before the wait: they are constants of a captured graph, and outside of one the
  // launch does not overlap.
  if (elect_one()) {
    for (int i = 0; i < Stages; ++i) barrier_init(full[i], 1);
    barrier_init_fence();
    // Behind as many codes as there is room for, x would come late.
    constexpr int kEarly = Bits == 8 && BatchTiles == 1 ? Stages : 1;
#pragma unroll
    for (int i = 0; i < Stages; ++i) {
      const int piece = warp + i * kRingWarps;
      if (i < kEarly && piece < pieces) copy_codes(piece, i);
    }
    wait_for_predecessor();
#pragma unroll
    for (int i = 0; i < Stages; ++i) {
      const int piece = warp + i * kRingWarps;
      if (piece >= pieces) break;
      if (i >= kEarly) copy_codes(piece, i);
      copy_x(piece, i);
    }
  }
  __syncthreads();
  wait(grids_came, 0);

  const uint32_t low_at = shared_address(ring + place * Shape::kLowBytes),
                 first_low = low_at + ring_offset<Shape::kLowRow>(group, part),
                 next_low =
                     low_at + (ring_offset<Shape::kLowRow>(group, part) ^ (Bits == 8 ? 16u : 0u));
  const uint32_t high_at =
      shared_address(ring + Shape::kPlaces * Shape::kLowBytes + place * Shape::kHighBytes) +
      group * Shape::kHighRow + part * 4;
  const uint32_t x_at = shared_address(ring + Shape::kXAt) + part / 2 * Shape::kXHalf +
                        place * Shape::kXBytes + group * 128;
  const auto x_unit = [&](int unit) {
    return static_cast<uint32_t>(((part % 2 * 4 + unit) ^ ((group + part / 2 * 2) % 8)) * 16);
  };
  const bool is_bf16 = w.scales_dtype == DType::BF16;
  const auto* own_scales = scales + group * w.groups;
  const auto* own_zeros = zeros + group * w.groups;

  float sums[RowTiles][BatchTiles][4] = {};
  RingPosition stage;
  for (int piece = warp; piece < pieces; piece += kRingWarps) {
    const uint32_t low_stage = stage.at * Shape::kLowBytes,
                   high_stage = stage.at * Shape::kHighBytes;
    const int grid = static_cast<int>((static_cast<float>(piece) + 0.5f) * to_group);
    wait(full[stage.at], stage.phase);
    uint32_t columns[BatchTiles][kPairs];
#pragma unroll
    for (int tile = 0; tile < BatchTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < kPairs; i += 4) {
        const uint4 four =
            load_shared_four(x_at + stage.at * Shape::kXBytes + tile * 8 * 128 + x_unit(i / 4));
        columns[tile][i] = four.x;
        columns[tile][i + 1] = four.y;
        columns[tile][i + 2] = four.z;
        columns[tile][i + 3] = four.w;
      }
    }
#pragma unroll
    for (int row_tile = 0; row_tile < RowTiles; ++row_tile) {
      uint32_t pairs[2][kPairs];
      float scale[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = row_tile * 16 + half * 8, at = row * w.groups + grid;
        const uint32_t low_row = low_stage + row * Shape::kLowRow;
        const Unpacker<T, Bits> unpack(static_cast<uint32_t>(own_zeros[at]));
        unpack(shared_chunk<Bits>(first_low + low_row, high_at + high_stage + row * Shape::kHighRow,
                                  next_low + low_row),
               pairs[half]);
        scale[half] = is_bf16 ? __uint_as_float(uint32_t{own_scales[at]} << 16)
                              : __half2float(__ushort_as_half(own_scales[at]));
      }
#pragma unroll
      for (int tile = 0; tile < BatchTiles; ++tile) {
        float fresh[4] = {};
#pragma unroll
        for (int i = 0; i < kPairs; i += 2) {
          Mma<T>::multiply(fresh, pairs[0][i], pairs[1][i], pairs[0][i + 1], pairs[1][i + 1],
                           columns[tile][i], columns[tile][i + 1]);
        }
        auto& sum = sums[row_tile][tile];
        sum[0] = fmaf(fresh[0], scale[0], sum[0]);
        sum[1] = fmaf(fresh[1], scale[0], sum[1]);
        sum[2] = fmaf(fresh[2], scale[1], sum[2]);
        sum[3] = fmaf(fresh[3], scale[1], sum[3]);
      }
    }
    __syncwarp();
    if (piece + Stages * kRingWarps < pieces && elect_one()) {
      copy_codes(piece + Stages * kRingWarps, stage.at);
      copy_x(piece + Stages * kRingWarps, stage.at);
    }
    stage.step(Stages);
  }
  __syncthreads();

  auto* sums_of = reinterpret_cast<float*>(ring);
  Shape::Sums::put(sums, sums_of);
  __syncthreads();
  wait_for_predecessor();
  Shape::Sums::store(p, sums_of, first_column, 0);
#endif
}

}  // namespace fewbit::cuda::gptq
