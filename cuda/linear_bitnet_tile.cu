// linear_bitnet on sm_90a: the tile shapes of tile_matmul, and which of them fits a product.
#include <algorithm>
#include <iterator>

#include "bitnet/linear_bitnet.h"
#include "bitnet/tile_matmul.cuh"
#include "common/launch.h"
#include "common/tensor_map.h"

namespace fewbit::cuda::bitnet {

namespace {

int divide_up(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

template <int Tokens, int Split, bool Adds>
void launch_tiles(const Product& p, Context& context) {
  using Shape = TileShape<Tokens, Split>;
  const TileGrid grid{divide_up(p.rows, Tokens), divide_up(p.columns, Shape::kColumns),
                      divide_up(p.depth, kDepthStep)};
  // With a split the sums take the place of the stages, so a cluster does one tile.
  const int clusters =
      Split > 1 ? grid.units() : std::min(grid.units(), context.properties.multiProcessorCount);
  Launch config;
  config.name = "linear_bitnet";
  config.grid = dim3(static_cast<unsigned>(clusters * Split));
  config.block = dim3(kTileThreads);
  config.cluster = Split;
  config.shared_bytes = Shape::kSharedBytes;
  config.overlap = true;
  launch(config, context, tile_matmul<Tokens, Split, Adds>,
         byte_matrix_map(p.codes, p.rows, p.depth, Tokens),
         byte_matrix_map(p.weight, p.columns, p.row_bytes(), Shape::kColumns), p, grid);
}

struct Variant {
  using Launch = void (*)(const Product& product, Context& context);
  int tokens, split;
  Launch launch, launch_adding;  // without a residual, and with one
};

template <int Tokens, int Split>
constexpr Variant variant() {
  return {Tokens, Split, launch_tiles<Tokens, Split, false>, launch_tiles<Tokens, Split, true>};
}

constexpr Variant kVariants[] = {
    variant<32, 1>(),  variant<32, 2>(),  variant<32, 4>(),  variant<64, 1>(),  variant<64, 2>(),
    variant<64, 4>(),  variant<128, 1>(), variant<128, 2>(), variant<128, 4>(), variant<160, 1>(),
    variant<192, 1>(), variant<208, 1>(), variant<256, 1>(),
};

bool fits(const Variant& variant, const Product& p) {
  if (divide_up(p.depth, kDepthStep) < variant.split) return false;
  // Tiles much larger than X only waste work.
  return variant.tokens == 32 || variant.tokens < 2 * p.rows;
}

// A rough time in clocks of a multiprocessor: rounds of tiles, each limited by the tensor cores or
// by what comes out of L2, and the ends of the pipeline.
double estimate(const Variant& variant, const Product& p, const Context& context) {
  constexpr double kL2BytesPerClock = 36, kFill = 3000, kEpiloguePerResult = 0.1, kExchange = 2500;
  const int blocks =
      divide_up(p.rows, variant.tokens) * divide_up(p.columns, kTileColumns) * variant.split;
  const int rounds = divide_up(blocks, context.properties.multiProcessorCount);
  const int steps = divide_up(divide_up(p.depth, kDepthStep), variant.split);
  const double multiply = variant.tokens * kTileColumns * kDepthStep / 4096.0;
  const double bytes = (variant.tokens + kTileColumns / 4.0) * kDepthStep;
  const double epilogue = kEpiloguePerResult * variant.tokens * kTileColumns / variant.split;
  return rounds * (steps * std::max(multiply, bytes / kL2BytesPerClock) + epilogue +
                   (variant.split > 1 ? kExchange : 0)) +
         kFill;
}

}  // namespace

bool tile_available(const Context& context) {
  return context.properties.major == 9 && context.properties.minor == 0;
}

bool tile_adds(const Product& product) { return stores_together<4>(product); }

std::vector<int> tile_variants(const Product& product) {
  std::vector<int> fitting;
  for (int i = 0; i < static_cast<int>(std::size(kVariants)); ++i) {
    if (fits(kVariants[i], product)) fitting.push_back(i);
  }
  return fitting;
}

int suggest_tile_variant(const Product& product, const Context& context) {
  int best = 0;
  double least = 0;
  for (int variant : tile_variants(product)) {
    const double clocks = estimate(kVariants[variant], product, context);
    if (least == 0 || clocks < least) {
      least = clocks;
      best = variant;
    }
  }
  return best;
}

void multiply_tiles(const Product& product, int variant, Context& context) {
  const Variant& chosen = kVariants[variant];
  (product.residual ? chosen.launch_adding : chosen.launch)(product, context);
}

}  // namespace fewbit::cuda::bitnet
