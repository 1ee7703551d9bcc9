// Weights of a tile on their way into wgmma operands, and the sums of blocks that share a tile.
#pragma once

#include "../common/hopper.cuh"
#include "tile_shape.cuh"
#include "unpack.cuh"

namespace fewbit::cuda::bitnet {

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

}  // namespace fewbit::cuda::bitnet
