// The outlier columns of x and of the weight next to each other, for products whose tiles would each
// have to gather them again (linear_int8_outliers.cu).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace fewbit::cuda::int8 {

constexpr int kOutlierChunk = 16;  // outliers that go to the tensor cores together

struct PackedOutliers {
  static constexpr int kMost = 1024;  // for more there is no room
  // So that both kinds, those with codes and those with weights in 16 bits, are whole chunks.
  static constexpr int kPlaces = kMost + 2 * kOutlierChunk;

  // In the dtype of x, as bits: [rows, width] and [columns, width], where width is 16 times the chunks of
  // both passes. Null: nothing is packed.
  uint16_t* x;
  uint16_t* weight;
  int2* chunks;  // of the first pass (OutlierPass::Codes) and of the second

  __host__ __device__ explicit operator bool() const { return x != nullptr; }
  static size_t bytes(int64_t rows, int64_t columns) {
    return kAlignment + static_cast<size_t>(rows + columns) * kPlaces * sizeof(uint16_t);
  }
  static PackedOutliers at(void* memory, int64_t rows) {
    auto* x = reinterpret_cast<uint16_t*>(static_cast<char*>(memory) + kAlignment);
    return {x, x + rows * kPlaces, static_cast<int2*>(memory)};
  }

 private:
  static constexpr size_t kAlignment = 256;
};

}  // namespace fewbit::cuda::int8
