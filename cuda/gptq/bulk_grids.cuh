// Scales and zero points of bulk_matmul's tiles: fetched as they lie in memory, and made ready for its
// multipliers.
#pragma once

#include "../common/hopper.cuh"
#include "bulk_stages.cuh"

namespace fewbit::cuda::gptq {

// A scale in its own type, and 16 times its zero point.
struct alignas(4) BulkGrid {
  uint16_t scale, zero;

  __device__ __forceinline__ float scale_of(bool is_bf16) const {
    return is_bf16 ? __uint_as_float(uint32_t{scale} << 16) : __half2float(__ushort_as_half(scale));
  }
};
// From one piece's grids to the next: threads that write, or read, side by side use all banks.
constexpr int kGridStride = kBulkTile + 1;

// One warp's. Tiles are fetched and made ready in the order in which they are needed.
class BulkGrids {
 public:
  __device__ __forceinline__ BulkGrids(const Weight& weight, const BulkPlan& plan,
                                       BulkShared& shared, unsigned char* fetched, int first_tile,
                                       int tiles)
      : weight_(weight),
        plan_(plan),
        shared_(shared),
        scales_(fetched),
        zeros_(fetched + plan.fetched * plan.scales_bytes),
        first_tile_(first_tile),
        tiles_(tiles) {}

  // By one thread: as many as there is room for.
  __device__ __forceinline__ void fetch_first() const {
    for (int i = 0; i < min(plan_.fetched, tiles_); ++i) fetch(i, i);
  }

  // Leaves the next tile's grids of so many pieces in `to`, piece by piece, and fetches another tile.
  __device__ __forceinline__ void prepare(int pieces, float to_group, BulkGrid* to) {
    hopper::wait(shared_.came[place_.at], place_.phase);
    const auto* scales =
        reinterpret_cast<const uint16_t*>(scales_ + place_.at * plan_.scales_bytes);
    const unsigned char* zeros = zeros_ + place_.at * plan_.zeros_bytes;
    // Lanes along a row's pieces: both the loads and the stores then use all banks.
    // A piece past the end of a row, of which x is zero, has another's.
    for (int piece = static_cast<int>(threadIdx.x % 32); piece < pieces; piece += 32) {
      const int group =
          static_cast<int>((static_cast<float>(min(piece, plan_.pieces - 1)) + 0.5f) * to_group);
      uint16_t scale[kBulkTile];
      unsigned char zero[kBulkTile];
#pragma unroll
      for (int row = 0; row < kBulkTile; ++row) {
        scale[row] = scales[row * weight_.groups + group];
        zero[row] = zeros[row * weight_.groups + group];
      }
#pragma unroll
      for (int row = 0; row < kBulkTile; ++row) {
        to[piece * kGridStride + row] = BulkGrid{scale[row], static_cast<uint16_t>(zero[row] * 16)};
      }
    }
    __syncwarp();
    const int next = prepared_ + plan_.fetched;
    if (next < tiles_ && hopper::elect_one()) fetch(next, place_.at);
    place_.step(plan_.fetched);
    ++prepared_;
  }

 private:
  __device__ __forceinline__ void fetch(int tile, int place) const {
    const int64_t at = int64_t{first_tile_ + tile} * kBulkTile * weight_.groups;
    uint64_t& came = shared_.came[place];
    hopper::arrive_expecting(came, plan_.scales_bytes + plan_.zeros_bytes);
    hopper::copy_bytes(scales_ + place * plan_.scales_bytes,
                       static_cast<const uint16_t*>(weight_.scales) + at, plan_.scales_bytes, came);
    hopper::copy_bytes(zeros_ + place * plan_.zeros_bytes, weight_.zeros + at, plan_.zeros_bytes,
                       came);
  }

  const Weight& weight_;
  const BulkPlan& plan_;
  BulkShared& shared_;
  unsigned char* scales_;
  unsigned char* zeros_;
  int first_tile_, tiles_, prepared_ = 0;
  RingPosition place_;
};

}  // namespace fewbit::cuda::gptq
