// What the SIMD product of affine codes reads: a chunk of 128 positions at a time, activations in the
// order in which a chunk of the weight (ops/affine_codes.h) unpacks into two registers of 16 words.
#pragma once

#include <cstdint>
#include <cstring>

#include "../ops/affine_codes.h"  // here, so that it comes before any target pragma

namespace fewbit::cpu {

constexpr int kChunkLanes = 16;

// Where a word of four codes goes: which register, and which lane there.
struct ChunkPlace {
  int half, lane;
};

// Of positions 32 block + 16 half + 4 part .. + 3 of a chunk, for weights of some width.
constexpr ChunkPlace chunk_place(int bits, int block, int half, int part) {
  if (bits == 8) return {part / 2, part % 2 * 8 + 2 * block + half};
  if (bits == 4) return {half, part * 4 + block};
  return {half, block % 2 * 8 + part * 2 + block / 2};
}

// The 32-position block that a lane adds up.
constexpr int lane_block(int bits, int lane) {
  if (bits == 8) return lane % 8 / 2;
  if (bits == 4) return lane % 4;
  return lane % 2 * 2 + lane / 8;
}

// Rows of activations in that order, and the sums of each lane's codes. Chunks of a row follow each
// other, and rows do.
struct AffineInput {
  const int8_t* codes;  // 128 to a chunk
  const float* sums;    // kChunkLanes to a chunk
};

// A row of the weight.
struct AffineRow {
  const uint8_t* low;
  const uint8_t* high;   // of 3 bits, else null
  const float* scales;   // of its groups
  const uint8_t* zeros;  // likewise; null for 8 bits
};

// What rows of a product have in common.
struct AffineShape {
  int bits;
  int64_t chunks, groups, group_size;
};

// Brings k codes of a row into that order, with zeros behind them.
inline void to_chunk_order(const int8_t* x, int64_t k, int bits, int8_t* codes, float* sums) {
  constexpr int64_t kChunk = ops::affine::kChunk;
  for (int64_t p = 0; p < k; p += kChunk, codes += kChunk, sums += kChunkLanes) {
    std::memset(codes, 0, kChunk);
    for (int lane = 0; lane < kChunkLanes; ++lane) sums[lane] = 0;
    const int words = static_cast<int>((k - p < kChunk ? k - p : kChunk) / 4);
    for (int word = 0; word < words; ++word) {
      const ChunkPlace to = chunk_place(bits, word / 8, word / 4 % 2, word % 4);
      const int8_t* from = x + p + word * 4;
      std::memcpy(codes + (to.half * kChunkLanes + to.lane) * 4, from, 4);
      sums[to.lane] += static_cast<float>(from[0] + from[1] + from[2] + from[3]);
    }
  }
}

}  // namespace fewbit::cpu
