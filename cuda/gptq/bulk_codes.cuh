// How bulk_matmul's stages are filled.
#pragma once

#include "../common/hopper.cuh"
#include "bulk_stages.cuh"

namespace fewbit::cuda::gptq {

// The codes of some tiles in a row, slice by slice, through the ring of stages. One thread's.
template <int Bits, int Warps>
class BulkCodes {
 public:
  using Slice = BulkSlice<Bits, Warps>;

  __device__ __forceinline__ BulkCodes(const CUtensorMap& low_map, const CUtensorMap& high_map,
                                       const Weight& weight, const BulkPlan& plan,
                                       BulkShared& shared, unsigned char* ring, int first_row)
      : low_map_(low_map),
        high_map_(high_map),
        weight_(weight),
        plan_(plan),
        shared_(shared),
        ring_(ring),
        row_(first_row) {}

  // Until so many slices have been copied, as soon as there is room for them.
  __device__ __forceinline__ void fill(int slices) {
    for (; filled_ < slices; ++filled_) {
      if (filled_ >= plan_.stages) {
        hopper::wait(shared_.empty[stage_.at], stage_.phase ^ 1);
      }
      copy_slice();
      stage_.step(plan_.stages);
      if (++slice_ == plan_.slices) {
        slice_ = 0;
        row_ += kBulkTile;
      }
    }
  }

 private:
  __device__ __forceinline__ void copy_slice() const {
    uint64_t& full = shared_.full[stage_.at];
    const int low_boxes = boxes_of(Slice::kWidth, Slice::kLowBoxes);
    const int high_boxes = Bits == 3 ? boxes_of(1, Slice::kHighBoxes) : 0;
    hopper::arrive_expecting(full, (low_boxes + high_boxes) * Slice::kBoxBytes);
    unsigned char* to = ring_ + stage_.at * Slice::kStageBytes;
    for (int i = 0; i < low_boxes; ++i) {
      hopper::copy_box(to + i * Slice::kBoxBytes, low_map_, full,
                       (slice_ * Slice::kLowBoxes + i) * 128, row_);
    }
    for (int i = 0; i < high_boxes; ++i) {
      hopper::copy_box(to + (Slice::kLowBoxes + i) * Slice::kBoxBytes, high_map_, full,
                       (slice_ * Slice::kHighBoxes + i) * 128, row_);
    }
  }

  // Of a plane of fields of some width, of which a whole slice has `most`.
  __device__ __forceinline__ int boxes_of(int width, int most) const {
    const auto bytes = static_cast<int>(weight_.row_bytes(width)) - slice_ * most * 128;
    return min(most, (bytes + 127) / 128);
  }

  const CUtensorMap& low_map_;
  const CUtensorMap& high_map_;
  const Weight& weight_;
  const BulkPlan& plan_;
  BulkShared& shared_;
  unsigned char* ring_;
  int row_, slice_ = 0, filled_ = 0;
  RingPosition stage_;
};

}  // namespace fewbit::cuda::gptq
