// linear_affine for many rows on sm_90a: which tile shapes fit a product, and activations of 4 bits
// brought to int8 for them.
#include <algorithm>
#include <iterator>

#include "affine/tile_launch.cuh"

namespace fewbit::cuda::affine {

namespace {

constexpr TileVariant kVariants[] = {{32, 1}, {32, 2}, {32, 4},  {32, 8},  {64, 1}, {64, 2},
                                     {64, 4}, {64, 8}, {128, 1}, {128, 2}, {128, 4}};
// Chunks of K that a block should have at least: fewer do not pay for the exchange of sums.
constexpr int kLeastChunks = 4;

int blocks_of(const TileVariant& variant, const Product& p) {
  return divide_up(p.rows, variant.tokens) * divide_up(p.columns, kTileColumns) * variant.split;
}

bool fits(const TileVariant& variant, const Product& p, const Context& context) {
  const bool splits = variant.split > 1;
  if (splits && p.chunks() < variant.split * kLeastChunks) return false;
  if (splits && blocks_of(variant, p) > 2 * context.properties.multiProcessorCount) return false;
  // Tiles much larger than X only waste work.
  return variant.tokens == 32 || variant.tokens < 2 * p.rows;
}

// A rough time: rounds of blocks, by what the tensor cores and the scaling of sums take, and the ends
// of the pipeline.
double estimate(const TileVariant& variant, const Product& p, const Context& context) {
  constexpr double kFill = 4000, kExchange = 2500;
  const int rounds = divide_up(blocks_of(variant, p), context.properties.multiProcessorCount);
  const double scaling = 4.0 / group_blocks(p);
  const double chunk = 250 + variant.tokens * (4.0 + 1.5 * scaling);
  return rounds *
             (divide_up(p.chunks(), variant.split) * chunk + (variant.split > 1 ? kExchange : 0)) +
         kFill;
}

constexpr int kWidenThreads = 128;

__global__ __launch_bounds__(kWidenThreads) void widen(const uint2* packed, uint4* codes,
                                                       int64_t count) {
  start_successor();
  wait_for_predecessor();
  const int64_t i = int64_t{blockIdx.x} * kWidenThreads + threadIdx.x;
  if (i >= count) return;
  const uint2 words = packed[i];
  const uint2 front = widen_nibbles(words.x), back = widen_nibbles(words.y);
  codes[i] = uint4{front.x, front.y, back.x, back.y};
}

}  // namespace

bool tile_available(const Context& context) {
  return context.properties.major == 9 && context.properties.minor == 0;
}

std::vector<int> tile_variants(const Product& p, const Context& context) {
  std::vector<int> fitting;
  for (int i = 0; i < static_cast<int>(std::size(kVariants)); ++i) {
    if (fits(kVariants[i], p, context)) fitting.push_back(i);
  }
  return fitting;
}

int suggest_tile_variant(const Product& p, const Context& context) {
  const std::vector<int> fitting = tile_variants(p, context);
  return *std::min_element(fitting.begin(), fitting.end(), [&](int a, int b) {
    return estimate(kVariants[a], p, context) < estimate(kVariants[b], p, context);
  });
}

void multiply_tiles(const Product& p, int variant, Context& context) {
  switch (p.bits) {
    case 3:
      return launch_tiles_3(p, kVariants[variant], context);
    case 4:
      return launch_tiles_4(p, kVariants[variant], context);
    default:
      return launch_tiles_8(p, kVariants[variant], context);
  }
}

Product widened(const Product& p, void* buffer, Context& context) {
  const int64_t count = p.rows * p.depth / 16;
  const Launch config{
      .name = "linear_affine",
      .grid = dim3(static_cast<unsigned>((count + kWidenThreads - 1) / kWidenThreads)),
      .block = dim3(kWidenThreads),
      .overlap = true};
  launch(config, context, widen, reinterpret_cast<const uint2*>(p.x), static_cast<uint4*>(buffer),
         count);
  Product wide = p;
  wide.x = static_cast<const uint8_t*>(buffer);
  wide.x_bits = 8;
  return wide;
}

}  // namespace fewbit::cuda::affine
