// linear_gptq on sm_90a: the tile shapes of fused_matmul, and which of them fits a product.
#include <algorithm>

#include "common/launch.h"
#include "common/tensor_map.h"
#include "gptq/fused_matmul.cuh"
#include "gptq/linear_gptq.h"

namespace fewbit::cuda::gptq {

namespace {

struct FusedVariant {
  int batch_rows;  // rows of x per block: 16, 32, 64, 128 or 256
  int split;       // blocks that share a tile, each with a part of K
  int multicast;   // blocks that share x; one of the two is 1
};

constexpr FusedVariant kVariants[] = {
    {16, 1, 1},  {16, 2, 1},  {16, 4, 1},  {16, 8, 1},  {32, 1, 1},  {32, 2, 1},  {32, 4, 1},
    {32, 8, 1},  {64, 1, 1},  {64, 2, 1},  {64, 4, 1},  {64, 8, 1},  {64, 1, 2},  {64, 1, 4},
    {128, 1, 1}, {128, 1, 2}, {128, 1, 4}, {256, 1, 1}, {256, 1, 2}, {256, 1, 4},
};

int divide_up(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

FusedGrid grid_of(const LinearGptq& linear, const FusedVariant& variant) {
  FusedGrid grid;
  grid.column_tiles =
      divide_up(linear.weight.rows, kFusedColumns * variant.multicast) * variant.multicast;
  grid.batch_tiles = divide_up(linear.rows, variant.batch_rows);
  grid.depth_steps = divide_up(linear.weight.positions, kTileDepth);
  grid.split = variant.split;
  grid.multicast = variant.multicast;
  return grid;
}

template <class T, int Bits, int BatchRows>
void launch_fused(const LinearGptq& linear, const FusedVariant& variant, Context& context) {
  using Shape = FusedShape<Bits, BatchRows>;
  const Weight& w = linear.weight;
  const FusedGrid grid = grid_of(linear, variant);
  Launch config;
  config.name = "linear_gptq";
  config.grid = dim3(static_cast<unsigned>(grid.column_tiles * grid.batch_tiles * grid.split));
  config.block = dim3(kFusedThreads);
  config.cluster = grid.split * grid.multicast;
  config.shared_bytes = Shape::kSharedBytes;
  config.overlap = is_captured(context);
  const CUtensorMap low_map = byte_matrix_map(w.codes, w.rows, w.row_bytes(plane_width(Bits)),
                                              kFusedColumns, kTileDepth * plane_width(Bits) / 8);
  const CUtensorMap high_map =
      Bits == 3 ? byte_matrix_map(w.high, w.rows, w.row_bytes(1), kFusedColumns, kTileDepth / 8)
                : low_map;
  const float to_group =
      w.groups == 1 ? 0.0f : static_cast<float>(kChunk) / static_cast<float>(w.group_size);
  launch(config, context, fused_matmul<T, Bits, BatchRows>,
         byte_matrix_map(linear.x, linear.rows, linear.depth * 2, BatchRows / grid.multicast),
         low_map, high_map, linear, grid, to_group);
}

template <class T, int Bits>
void launch_for_rows(const LinearGptq& linear, const FusedVariant& variant, Context& context) {
  switch (variant.batch_rows) {
    case 16:
      return launch_fused<T, Bits, 16>(linear, variant, context);
    case 32:
      return launch_fused<T, Bits, 32>(linear, variant, context);
    case 64:
      return launch_fused<T, Bits, 64>(linear, variant, context);
    case 128:
      return launch_fused<T, Bits, 128>(linear, variant, context);
    default:
      if constexpr (Bits < 8) launch_fused<T, Bits, 256>(linear, variant, context);
  }
}

template <class T>
void launch_for_bits(const LinearGptq& linear, const FusedVariant& variant, Context& context) {
  switch (linear.weight.bits) {
    case 2:
      return launch_for_rows<T, 2>(linear, variant, context);
    case 3:
      return launch_for_rows<T, 3>(linear, variant, context);
    case 4:
      return launch_for_rows<T, 4>(linear, variant, context);
    default:
      return launch_for_rows<T, 8>(linear, variant, context);
  }
}

// The tile that wastes least on few rows; many go in tiles of at least 64.
int smallest_tile(int64_t rows) { return rows <= 16 ? 16 : rows <= 32 ? 32 : 64; }

// Blocks that share a tile. It sets the order of additions, so it follows from the shape alone.
int split_of(const LinearGptq& linear, const Context& context) {
  constexpr int kLeastSteps = 4;
  const int rows = smallest_tile(linear.rows);
  const int blocks = divide_up(linear.weight.rows, kFusedColumns) * divide_up(linear.rows, rows);
  const int resident = context.properties.multiProcessorCount * (rows <= 32 ? 2 : 1);
  const int steps = divide_up(linear.weight.positions, kTileDepth);
  // Larger tiles exchange more than a further split saves.
  const int most = rows <= 32 ? 8 : 2;
  int split = 1;
  while (split < most && blocks * split * 2 <= resident && steps / (split * 2) >= kLeastSteps) {
    split *= 2;
  }
  return split;
}

// A rough time in clocks of an SM: rounds of tiles, each limited by the tensor cores, by unpacking or
// by what an SM gets out of L2, plus filling the pipeline and the epilogue.
double estimate(const FusedVariant& variant, const LinearGptq& linear, const Context& context) {
  constexpr double kL2BytesPerClock = 32, kUnpack = 450, kFill = 3000, kEpiloguePerResult = 0.15;
  const FusedGrid grid = grid_of(linear, variant);
  const int blocks = grid.column_tiles * grid.batch_tiles * grid.split;
  const int rounds = divide_up(blocks, context.properties.multiProcessorCount);
  const double multiply = kFusedColumns * variant.batch_rows * kTileDepth / 2048.0;
  const double bytes = variant.batch_rows * kTileDepth * 2.0 / variant.multicast +
                       kFusedColumns * kTileDepth * linear.weight.bits / 8.0;
  const double step = std::max({multiply, kUnpack, bytes / kL2BytesPerClock});
  return rounds * (divide_up(grid.depth_steps, grid.split) * step +
                   kEpiloguePerResult * kFusedColumns * variant.batch_rows) +
         kFill;
}

}  // namespace

bool fused_fits(const LinearGptq& linear, const Context& context) {
  const Weight& w = linear.weight;
  const int width = plane_width(w.bits);
  const bool hopper = context.properties.major == 9 && context.properties.minor == 0;
  const bool groups_fit = w.groups == 1 || w.group_size % kChunk == 0;
  // What the bulk copy engine asks of a row.
  const bool rows_fit = w.row_bytes(width) % 16 == 0 && (w.bits != 3 || w.row_bytes(1) % 16 == 0) &&
                        linear.depth % 8 == 0;
  return hopper && groups_fit && rows_fit && w.positions > 0;
}

std::vector<int> fused_variants(const LinearGptq& linear, const Context& context) {
  const int split = split_of(linear, context), smallest = smallest_tile(linear.rows);
  std::vector<int> fitting;
  for (int i = 0; i < static_cast<int>(std::size(kVariants)); ++i) {
    const FusedVariant& variant = kVariants[i];
    const bool wasteful = variant.batch_rows > smallest && (split > 1 || linear.rows <= smallest);
    // Too few stages of this tile fit in shared memory.
    const bool too_large = linear.weight.bits == 8 && variant.batch_rows == 256;
    if (variant.split == split && variant.batch_rows >= smallest && !wasteful && !too_large) {
      fitting.push_back(i);
    }
  }
  return fitting;
}

int suggest_fused_variant(const LinearGptq& linear, const Context& context) {
  int best = 0;
  double least = 0;
  for (int i : fused_variants(linear, context)) {
    const double clocks = estimate(kVariants[i], linear, context);
    if (least == 0 || clocks < least) {
      least = clocks;
      best = i;
    }
  }
  return best;
}

void multiply_fused(const LinearGptq& linear, int index, Context& context) {
  const FusedVariant& variant = kVariants[index];
  with_half(linear.dtype, "linear_gptq: x",
            [&](auto zero) { launch_for_bits<decltype(zero)>(linear, variant, context); });
}

}  // namespace fewbit::cuda::gptq
