// What tile_matmul does to a chunk of the weight besides copying and multiplying it: scales and zero
// points staged, codes unpacked.
#pragma once

#include "unpack.cuh"

namespace fewbit::cuda::affine {

constexpr int kTileColumns = 128;  // rows of W in a tile

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// A warp stages the terms of a tile's columns, [groups of the chunk][kTileColumns].
template <int GroupBlocks>
__device__ __forceinline__ void stage_terms(const Product& p, int first_column, int chunk,
                                            float to_group, int lane, GroupTerm* to) {
  constexpr int kRows = kTileColumns / 32;
  const auto last = static_cast<int>(p.columns - 1);
#pragma unroll
  for (int first = 0; first < kBlocks; first += GroupBlocks) {
    const float block = static_cast<float>(chunk * kBlocks + first);
    const int group = min(static_cast<int>((block + 0.5f) * to_group), p.groups - 1);
    GroupTerm terms[kRows];
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      terms[i] = group_term(p, min(first_column + lane + i * 32, last), group);
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      to[first / GroupBlocks * kTileColumns + lane + i * 32] = terms[i];
    }
  }
}

// Part `part` of a row of a tile, whose planes lie as byte_matrix_map's swizzle leaves them.
template <int Bits>
__device__ __forceinline__ ChunkPart<Bits> load_shared_part(const unsigned char* low,
                                                            const unsigned char* high, int row,
                                                            int part) {
  ChunkPart<Bits> loaded;
  if constexpr (Bits == 4) {
    loaded.words = *reinterpret_cast<const uint4*>(low + row * 64 + (part ^ (row / 2 % 4)) * 16);
  } else if constexpr (Bits == 8) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      loaded.words[i] =
          *reinterpret_cast<const uint4*>(low + row * 128 + ((2 * part + i) ^ (row % 8)) * 16);
    }
  } else {
    const int piece = (part / 2) ^ (row / 4 % 2);
    loaded.low = *reinterpret_cast<const uint2*>(low + row * 32 + piece * 16 + part % 2 * 8);
    loaded.high = *reinterpret_cast<const uint32_t*>(high + row * 16 + part * 4);
  }
  return loaded;
}

// A lane's operands of the products of a chunk: rows row and row + 8 of the tile.
template <int GroupBlocks>
struct TileStep {
  static constexpr int kGroups = kBlocks / GroupBlocks;
  uint32_t a[kBlocks][4];
  float scale[kGroups][2];

  template <int Bits>
  __device__ __forceinline__ void load(const unsigned char* low, const unsigned char* high,
                                       const GroupTerm* terms, int row, int part) {
    const ChunkPart<Bits> parts[2] = {load_shared_part<Bits>(low, high, row, part),
                                      load_shared_part<Bits>(low, high, row + 8, part)};
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const GroupTerm term = terms[group * kTileColumns + row + half * 8];
        scale[group][half] = term.scale;
#pragma unroll
        for (int i = 0; i < GroupBlocks; ++i) {
          const int block = group * GroupBlocks + i;
          a[block][half] = parts[half].weights(block, 0, term.zeros);
          a[block][half + 2] = parts[half].weights(block, 1, term.zeros);
        }
      }
    }
  }
};

#endif

}  // namespace fewbit::cuda::affine
