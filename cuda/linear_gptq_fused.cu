// linear_gptq on sm_90a: the tile shapes of fused_matmul, and which of them fits a product.
#include <algorithm>
#include <iterator>
#include <vector>

#include "common/launch.h"
#include "common/tensor_map.h"
#include "gptq/fused_matmul.cuh"
#include "gptq/linear_gptq.h"

namespace fewbit::cuda::gptq {

namespace {

// What a block computes of a product: 64 outputs for each of its consumer warpgroups, by rows of x.
struct FusedTile {
  int batch_rows, warpgroups;

  int columns() const { return warpgroups * 64; }
  bool operator==(const FusedTile&) const = default;
};

// Some of a product's outputs, and how blocks share their work.
struct FusedPart {
  int first_column, columns;
  FusedTile tile;
  int split;  // blocks that share a tile, each with a part of K: a power of two
};

bool groups_are_tiles(const Weight& w) { return w.groups == 1 || w.group_size % kTileDepth == 0; }

int divide_up(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

int column_tiles(const FusedPart& part) { return divide_up(part.columns, part.tile.columns()); }

int units_of(const FusedPart& part, const LinearGptq& linear) {
  return column_tiles(part) * divide_up(linear.rows, part.tile.batch_rows);
}

// Whether a block takes several units: there are more than run at a time, of enough work, and the output
// is as WarpStore asks.
bool is_stream(const FusedPart& part, const LinearGptq& linear, const Context& context) {
  return part.split == 1 && part.tile.batch_rows >= 128 &&
         units_of(part, linear) > context.properties.multiProcessorCount &&
         linear.out_dtype == linear.dtype && linear.weight.rows % 16 == 0 &&
         linear.out_stride % 4 == 0 && reinterpret_cast<uintptr_t>(linear.out) % 8 == 0;
}

template <class T, int Bits, int BatchRows, int Warpgroups, bool IsStream>
void launch_fused(const LinearGptq& linear, const FusedPart& part, Context& context) {
  using Shape = FusedShape<Bits, BatchRows, Warpgroups>;
  const Weight& w = linear.weight;
  const FusedGrid grid{part.first_column,
                       column_tiles(part),
                       units_of(part, linear),
                       divide_up(w.positions, kTileDepth),
                       part.split,
                       groups_are_tiles(w) ? 1 : kTileParts};
  Launch config;
  config.name = "linear_gptq";
  config.grid = dim3(static_cast<unsigned>(IsStream ? context.properties.multiProcessorCount
                                                    : grid.units * part.split));
  config.block = dim3(Shape::kThreads);
  config.cluster = part.split;
  config.shared_bytes = Shape::kSharedBytes;
  config.overlap = is_captured(context);
  const CUtensorMap low_map =
      byte_matrix_map(w.codes, w.rows, w.row_bytes(plane_width(Bits)), Shape::kColumns,
                      Shape::kStageDepth * plane_width(Bits) / 8);
  const CUtensorMap high_map = Bits == 3 ? byte_matrix_map(w.high, w.rows, w.row_bytes(1),
                                                           Shape::kColumns, Shape::kStageDepth / 8)
                                         : low_map;
  launch(config, context, fused_matmul<T, Bits, BatchRows, Warpgroups, IsStream>,
         byte_matrix_map(linear.x, linear.rows, linear.depth * 2, BatchRows), low_map, high_map,
         linear, grid, w.to_group(kChunk));
}

template <class T, int Bits, int BatchRows, int Warpgroups>
void launch_large(const LinearGptq& linear, const FusedPart& part, Context& context) {
  is_stream(part, linear, context)
      ? launch_fused<T, Bits, BatchRows, Warpgroups, true>(linear, part, context)
      : launch_fused<T, Bits, BatchRows, Warpgroups, false>(linear, part, context);
}

template <class T, int Bits>
void launch_for_tile(const LinearGptq& linear, const FusedPart& part, Context& context) {
  switch (part.tile.batch_rows) {
    case 16:
      return launch_fused<T, Bits, 16, 2, false>(linear, part, context);
    case 32:
      return launch_fused<T, Bits, 32, 2, false>(linear, part, context);
    case 64:
      return launch_fused<T, Bits, 64, 2, false>(linear, part, context);
    case 128:
      return part.tile.warpgroups == 2 ? launch_large<T, Bits, 128, 2>(linear, part, context)
                                       : launch_large<T, Bits, 128, 3>(linear, part, context);
    default:
      return launch_large<T, Bits, 256, 2>(linear, part, context);
  }
}

template <class T>
void launch_for_bits(const LinearGptq& linear, const FusedPart& part, Context& context) {
  switch (linear.weight.bits) {
    case 2:
      return launch_for_tile<T, 2>(linear, part, context);
    case 3:
      return launch_for_tile<T, 3>(linear, part, context);
    case 4:
      return launch_for_tile<T, 4>(linear, part, context);
    default:
      return launch_for_tile<T, 8>(linear, part, context);
  }
}

constexpr int kLeastSteps = 4;  // of a split
constexpr int kMostSplits = 4;  // of more than 64 rows

// Tiles of 192 outputs in clusters of four took longer than estimated.
int most_splits(const FusedTile& tile) { return tile.warpgroups > 2 ? 2 : kMostSplits; }

int steps_of(const LinearGptq& linear) { return divide_up(linear.weight.positions, kTileDepth); }

// Blocks of 64 rows and more that run at a time, one to a multiprocessor. Clusters of four do not find
// place on all of them.
int resident_blocks(int split, const Context& context) {
  const int processors = context.properties.multiProcessorCount;
  return split > 2 ? processors / 16 * 14 : processors;
}

// Up to 64 rows go in one tile; its splits fill the GPU.
FusedPart part_for_few_rows(const LinearGptq& linear, const Context& context) {
  const int rows = linear.rows <= 16 ? 16 : linear.rows <= 32 ? 32 : 64;
  const FusedTile tile{rows, 2};
  const int tiles = divide_up(linear.weight.rows, tile.columns());
  const int most = rows <= 32 ? 4 : 2;
  const int resident = context.properties.multiProcessorCount * (rows <= 32 ? 2 : 1);
  int split = 1;
  while (split < most && tiles * split * 2 <= resident &&
         steps_of(linear) / (split * 2) >= kLeastSteps) {
    split *= 2;
  }
  return {0, static_cast<int>(linear.weight.rows), tile, split};
}

constexpr FusedTile kTiles[] = {{64, 2}, {128, 2}, {128, 3}, {256, 2}};

// Microseconds on an H200 that a round of blocks with each of these tiles takes when all
// multiprocessors have one: to fill pipelines and store results, and for each step of K.
struct RoundTimes {
  double fixed[std::size(kTiles)], step[std::size(kTiles)];
};

// To store results, where the next unit's tiles come meanwhile.
constexpr double kStoreTimes[] = {0, 0.8, 1.0, 1.6};

RoundTimes round_times(int bits) {
  switch (bits) {
    case 2:
      return {{4.4, 5.6, 5.1, 7.2}, {0.519, 0.713, 1.075, 1.284}};
    case 3:
      return {{4.6, 4.7, 5.1, 7.3}, {0.603, 0.819, 1.175, 1.344}};
    case 4:
      return {{4.2, 3.4, 3.9, 6.4}, {0.550, 0.822, 1.156, 1.362}};
    default:
      return {{4.7, 5.7, 4.2, 5.8}, {0.616, 0.872, 1.272, 1.469}};
  }
}

// Rounds of blocks. One that leaves multiprocessors idle is shorter: the others share memory and power.
double rounds_of(int blocks, int resident) {
  const int last = blocks % resident;
  const double part = last > 0 ? 0.82 + 0.12 * last / resident : 0;
  return blocks / resident + part;
}

// Microseconds on an H200: rounds of blocks, each of which fills its pipeline, goes through its part
// of K, exchanges sums and stores results. Where blocks take several units, only the first round fills
// pipelines.
double estimate(const FusedPart& part, const LinearGptq& linear, const Context& context) {
  const RoundTimes times = round_times(linear.weight.bits);
  const auto kind =
      static_cast<size_t>(std::find_if(std::begin(kTiles), std::end(kTiles),
                                       [&](const FusedTile& tile) { return tile == part.tile; }) -
                          std::begin(kTiles));
  const double rounds =
      rounds_of(units_of(part, linear) * part.split, resident_blocks(part.split, context));
  const double exchange = part.split > 1 ? 0.5 + part.tile.batch_rows / 170.0 : 0;
  const double steps = divide_up(steps_of(linear), part.split) * times.step[kind] + exchange;
  const double fixed = is_stream(part, linear, context)
                           ? times.fixed[kind] + (rounds - 1) * kStoreTimes[kind]
                           : rounds * times.fixed[kind];
  return fixed + rounds * steps;
}

// The best way for some outputs if all go the same way.
FusedPart best_part(int first_column, int columns, const LinearGptq& linear,
                    const Context& context) {
  const Weight& w = linear.weight;
  FusedPart best{};
  double least = 0;
  for (const FusedTile& tile : kTiles) {
    // Too few stages of this tile fit in shared memory.
    if (tile.batch_rows == 256 && !groups_are_tiles(w)) continue;
    for (int split = 1; split <= most_splits(tile); split *= 2) {
      if (split > 1 && steps_of(linear) / split < kLeastSteps) continue;
      const FusedPart part{first_column, columns, tile, split};
      const double time = estimate(part, linear, context);
      if (least > 0 && time >= least) continue;
      least = time;
      best = part;
    }
  }
  return best;
}

// Many rows: all outputs go one way, or as many as make whole rounds of blocks do and the rest another,
// so that no last round leaves most of the GPU idle.
std::vector<FusedPart> parts_of(const LinearGptq& linear, const Context& context) {
  const auto columns = static_cast<int>(linear.weight.rows);
  std::vector<FusedPart> best = {best_part(0, columns, linear, context)};
  double least = estimate(best[0], linear, context);
  for (const FusedTile& tile : kTiles) {
    for (int split = 1; split <= most_splits(tile); split *= 2) {
      const int per_tile = divide_up(linear.rows, tile.batch_rows) * split;
      const int resident = resident_blocks(split, context);
      const int tiles = divide_up(columns, tile.columns());
      const int rounds = tiles * per_tile / resident;
      const int first = rounds * resident / per_tile * tile.columns();
      if (first == 0 || first >= columns) continue;
      const FusedPart whole = best_part(0, first, linear, context);
      const FusedPart rest = best_part(first, columns - first, linear, context);
      const double time = estimate(whole, linear, context) + estimate(rest, linear, context);
      if (time >= least) continue;
      least = time;
      best = {whole, rest};
    }
  }
  return best;
}

void launch_part(const LinearGptq& linear, const FusedPart& part, Context& context) {
  with_half(linear.dtype, "linear_gptq: x",
            [&](auto zero) { launch_for_bits<decltype(zero)>(linear, part, context); });
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

void multiply_fused(const LinearGptq& linear, Context& context) {
  if (linear.rows <= 64) return launch_part(linear, part_for_few_rows(linear, context), context);
  for (const FusedPart& part : parts_of(linear, context)) launch_part(linear, part, context);
}

}  // namespace fewbit::cuda::gptq
