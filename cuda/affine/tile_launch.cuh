// The tile shapes of tile_matmul for weights of some width, and their launch.
#pragma once

#include "../common/launch.h"
#include "../common/tensor_map.h"
#include "linear_affine.h"
#include "tile_matmul.cuh"

namespace fewbit::cuda::affine {

inline int divide_up(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

// A variant of a tile: its rows of X, and the blocks that split K.
struct TileVariant {
  int tokens, split;
};

template <int Bits, int GroupBlocks, int Tokens>
void launch_tile(const Product& p, int split, Context& context) {
  using Shape = TileShape<Bits, GroupBlocks, Tokens>;
  const TileGrid grid{divide_up(p.columns, kTileColumns), split,
                      static_cast<float>(kBlock) / static_cast<float>(p.group_size)};
  const int64_t chunks = p.chunks();
  Launch config;
  config.name = "linear_affine";
  config.grid = dim3(static_cast<unsigned>(grid.column_tiles * divide_up(p.rows, Tokens) * split));
  config.block = dim3(kTileThreads);
  config.cluster = split;
  config.shared_bytes = Shape::kSharedBytes;
  config.overlap = true;
  const CUtensorMap low = byte_matrix_map(p.low, p.columns, chunks * kChunk * Shape::kWidth / 8,
                                          kTileColumns, kChunk * Shape::kWidth / 8);
  const CUtensorMap high =
      Bits == 3 ? byte_matrix_map(p.high, p.columns, chunks * kChunk / 8, kTileColumns, kChunk / 8)
                : low;
  launch(config, context, tile_matmul<Bits, GroupBlocks, Tokens>,
         byte_matrix_map(p.x, p.rows, p.depth, Tokens), low, high, p, grid);
}

template <int Bits, int GroupBlocks>
void launch_variant(const Product& p, const TileVariant& variant, Context& context) {
  if (variant.tokens == 32) return launch_tile<Bits, GroupBlocks, 32>(p, variant.split, context);
  if (variant.tokens == 64) return launch_tile<Bits, GroupBlocks, 64>(p, variant.split, context);
  launch_tile<Bits, GroupBlocks, 128>(p, variant.split, context);
}

template <int Bits>
void launch_tiles(const Product& p, const TileVariant& variant, Context& context) {
  switch (group_blocks(p)) {
    case 4:
      return launch_variant<Bits, 4>(p, variant, context);
    case 2:
      return launch_variant<Bits, 2>(p, variant, context);
    default:
      return launch_variant<Bits, 1>(p, variant, context);
  }
}

// In a file each.
void launch_tiles_3(const Product& p, const TileVariant& variant, Context& context);
void launch_tiles_4(const Product& p, const TileVariant& variant, Context& context);
void launch_tiles_8(const Product& p, const TileVariant& variant, Context& context);

}  // namespace fewbit::cuda::affine
