// linear_gptq on sm_90a: the tile shapes of fused_matmul, and which of them fits a product.
#include <algorithm>
#include <vector>

#include "common/launch.h"
#include "common/tensor_map.h"
#include "gptq/fused_matmul.cuh"
#include "gptq/linear_gptq.h"

namespace fewbit::cuda::gptq {

namespace {

// Some of a product's tiles of 128 outputs, and how blocks share their work.
struct FusedPart {
  int first_tile, tiles;
  int batch_rows;  // rows of x per block: 16, 32, 64, 128 or 256
  int split;       // blocks that share a tile, each with a part of K: a power of two
};

bool groups_are_tiles(const Weight& w) { return w.groups == 1 || w.group_size % kTileDepth == 0; }

int divide_up(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

template <class T, int Bits, int BatchRows>
void launch_fused(const LinearGptq& linear, const FusedPart& part, Context& context) {
  using Shape = FusedShape<Bits, BatchRows>;
  const Weight& w = linear.weight;
  const FusedGrid grid{part.first_tile, part.tiles, divide_up(w.positions, kTileDepth), part.split,
                       groups_are_tiles(w) ? 1 : kTileParts};
  Launch config;
  config.name = "linear_gptq";
  config.grid =
      dim3(static_cast<unsigned>(part.tiles * divide_up(linear.rows, BatchRows) * part.split));
  config.block = dim3(kFusedThreads);
  config.cluster = part.split;
  config.shared_bytes = Shape::kSharedBytes;
  config.overlap = is_captured(context);
  const CUtensorMap low_map =
      byte_matrix_map(w.codes, w.rows, w.row_bytes(plane_width(Bits)), kFusedColumns,
                      Shape::kStageDepth * plane_width(Bits) / 8);
  const CUtensorMap high_map = Bits == 3 ? byte_matrix_map(w.high, w.rows, w.row_bytes(1),
                                                           kFusedColumns, Shape::kStageDepth / 8)
                                         : low_map;
  const float to_group =
      w.groups == 1 ? 0.0f : static_cast<float>(kChunk) / static_cast<float>(w.group_size);
  launch(config, context, fused_matmul<T, Bits, BatchRows>,
         byte_matrix_map(linear.x, linear.rows, linear.depth * 2, BatchRows), low_map, high_map,
         linear, grid, to_group);
}

template <class T, int Bits>
void launch_for_rows(const LinearGptq& linear, const FusedPart& part, Context& context) {
  switch (part.batch_rows) {
    case 16:
      return launch_fused<T, Bits, 16>(linear, part, context);
    case 32:
      return launch_fused<T, Bits, 32>(linear, part, context);
    case 64:
      return launch_fused<T, Bits, 64>(linear, part, context);
    case 128:
      return launch_fused<T, Bits, 128>(linear, part, context);
    default:
      return launch_fused<T, Bits, 256>(linear, part, context);
  }
}

template <class T>
void launch_for_bits(const LinearGptq& linear, const FusedPart& part, Context& context) {
  switch (linear.weight.bits) {
    case 2:
      return launch_for_rows<T, 2>(linear, part, context);
    case 3:
      return launch_for_rows<T, 3>(linear, part, context);
    case 4:
      return launch_for_rows<T, 4>(linear, part, context);
    default:
      return launch_for_rows<T, 8>(linear, part, context);
  }
}

constexpr int kLeastSteps = 4;  // of a split
constexpr int kMostSplits = 4;  // of more than 64 rows

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
  const int tiles = divide_up(linear.weight.rows, kFusedColumns);
  const int most = rows <= 32 ? 4 : 2;
  const int resident = context.properties.multiProcessorCount * (rows <= 32 ? 2 : 1);
  int split = 1;
  while (split < most && tiles * split * 2 <= resident &&
         steps_of(linear) / (split * 2) >= kLeastSteps) {
    split *= 2;
  }
  return {0, tiles, rows, split};
}

// Microseconds on an H100 that a round of blocks of 64, 128 and 256 rows takes when all multiprocessors
// have one: to fill pipelines and store results, and for each step of K.
struct RoundTimes {
  double fixed[3], step[3];
};

RoundTimes round_times(int bits) {
  switch (bits) {
    case 2:
      return {{4.4, 4.5, 6.6}, {0.496, 0.741, 1.340}};
    case 3:
      return {{4.8, 6.3, 7.8}, {0.560, 0.795, 1.419}};
    case 4:
      return {{3.3, 5.4, 7.8}, {0.548, 0.759, 1.372}};
    default:
      return {{5.0, 5.7, 9.4}, {0.728, 0.900, 1.419}};
  }
}

// Rounds of blocks. One that leaves multiprocessors idle is shorter: the others share memory and power.
double rounds_of(int blocks, int resident) {
  const int last = blocks % resident;
  const double part = last > 0 ? 0.82 + 0.12 * last / resident : 0;
  return blocks / resident + part;
}

// Microseconds on an H100: rounds of blocks, each of which fills its pipeline, goes through its part
// of K, exchanges sums and stores results.
double estimate(const FusedPart& part, const LinearGptq& linear, const Context& context) {
  const RoundTimes times = round_times(linear.weight.bits);
  const int kind = part.batch_rows / 128;  // 64, 128, 256
  const int blocks = part.tiles * divide_up(linear.rows, part.batch_rows) * part.split;
  const double rounds = rounds_of(blocks, resident_blocks(part.split, context));
  const double exchange = part.split > 1 ? 0.5 + part.batch_rows / 170.0 : 0;
  return rounds * (times.fixed[kind] + divide_up(steps_of(linear), part.split) * times.step[kind] +
                   exchange);
}

// The best way for some tiles if all go the same way.
FusedPart best_part(int first_tile, int tiles, const LinearGptq& linear, const Context& context) {
  const Weight& w = linear.weight;
  FusedPart best{};
  double least = 0;
  for (int rows : {64, 128, 256}) {
    // Too few stages of this tile fit in shared memory.
    if (rows == 256 && !groups_are_tiles(w)) continue;
    for (int split = 1; split <= kMostSplits; split *= 2) {
      if (split > 1 && steps_of(linear) / split < kLeastSteps) continue;
      const FusedPart part{first_tile, tiles, rows, split};
      const double time = estimate(part, linear, context);
      if (least > 0 && time >= least) continue;
      least = time;
      best = part;
    }
  }
  return best;
}

// Many rows: all tiles go one way, or as many as make whole rounds of blocks do and the rest another,
// so that no last round leaves most of the GPU idle.
std::vector<FusedPart> parts_of(const LinearGptq& linear, const Context& context) {
  const int tiles = divide_up(linear.weight.rows, kFusedColumns);
  std::vector<FusedPart> best = {best_part(0, tiles, linear, context)};
  double least = estimate(best[0], linear, context);
  for (int rows : {64, 128, 256}) {
    for (int split = 1; split <= kMostSplits; split *= 2) {
      const int per_tile = divide_up(linear.rows, rows) * split;
      const int resident = resident_blocks(split, context);
      const int rounds = tiles * per_tile / resident, first = rounds * resident / per_tile;
      if (first == 0 || first == tiles) continue;
      const FusedPart whole = best_part(0, first, linear, context);
      const FusedPart rest = best_part(first, tiles - first, linear, context);
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
