// linear_int8 on sm_90a: the tile shapes of fused_matmul, and which of them fits a product.
#include <algorithm>
#include <array>
#include <atomic>

#include "common/launch.h"
#include "common/tensor_map.h"
#include "int8/fused_matmul.cuh"
#include "int8/linear_int8.h"

namespace fewbit::cuda::int8 {

namespace {

using LaunchFused = void (*)(const Product& product, Context& context);

int divide_up(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

// Clusters that run at the same time: fewer than the multiprocessors would give, since a cluster
// stays within one group of them. Asked once per device.
template <int BlockRows, int BlockColumns, int Split, int RowTiles, int ColumnTiles>
int resident_clusters(const Context& context) {
  using Shape = FusedShape<BlockRows, BlockColumns, Split, RowTiles, ColumnTiles>;
  constexpr int kDevices = 64;
  static std::array<std::atomic<int>, kDevices> known{};
  std::atomic<int>& entry = known[static_cast<size_t>(context.device % kDevices)];
  if (const int clusters = entry.load()) return clusters;
  const auto kernel = fused_matmul<BlockRows, BlockColumns, Split, RowTiles, ColumnTiles>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             Shape::kSharedBytes),
        "linear_int8");
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {Shape::kCluster, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(Shape::kCluster);
  config.blockDim = dim3(kFusedThreads);
  config.dynamicSmemBytes = Shape::kSharedBytes;
  config.attrs = &cluster;
  config.numAttrs = 1;
  int clusters = 0;
  check(cudaOccupancyMaxActiveClusters(&clusters, kernel, &config), "linear_int8");
  entry.store(std::max(clusters, 1));
  return std::max(clusters, 1);
}

template <int BlockRows, int BlockColumns, int Split, int RowTiles, int ColumnTiles>
void launch_fused(const Product& product, Context& context) {
  using Shape = FusedShape<BlockRows, BlockColumns, Split, RowTiles, ColumnTiles>;
  const TileGrid grid{divide_up(product.rows, BlockRows * RowTiles),
                      divide_up(product.columns, BlockColumns * ColumnTiles),
                      divide_up(product.depth, kDepthStep)};
  const int units = grid.row_units * grid.column_units;
  const int resident =
      resident_clusters<BlockRows, BlockColumns, Split, RowTiles, ColumnTiles>(context);
  // With a split the sums' buffer takes the place of the stages, so a cluster does one tile.
  const int clusters = Split > 1 ? units : std::min(units, resident);
  Launch config;
  config.name = "linear_int8";
  config.grid = dim3(static_cast<unsigned>(clusters * Shape::kCluster));
  config.block = dim3(kFusedThreads);
  config.cluster = Shape::kCluster;
  config.shared_bytes = Shape::kSharedBytes;
  config.overlap = true;
  launch(
      config, context, fused_matmul<BlockRows, BlockColumns, Split, RowTiles, ColumnTiles>,
      byte_matrix_map(product.codes, product.rows, product.depth, Shape::kFetchedRows),
      byte_matrix_map(product.weight, product.weight_rows, product.depth, Shape::kFetchedColumns),
      product, grid);
}

struct TileShape {
  int rows, columns, split, row_tiles, column_tiles;
  LaunchFused launch;
  int (*resident_clusters)(const Context& context);
};

template <int Rows, int Columns, int Split = 1, int RowTiles = 1, int ColumnTiles = 1>
constexpr TileShape tile_shape() {
  return {Rows,
          Columns,
          Split,
          RowTiles,
          ColumnTiles,
          launch_fused<Rows, Columns, Split, RowTiles, ColumnTiles>,
          resident_clusters<Rows, Columns, Split, RowTiles, ColumnTiles>};
}

constexpr TileShape kShapes[] = {
    tile_shape<64, 128>(),          tile_shape<64, 96>(),
    tile_shape<64, 64, 2>(),        tile_shape<64, 128, 2>(),
    tile_shape<128, 80, 1, 2, 2>(), tile_shape<128, 80, 1, 2, 4>(),
    tile_shape<128, 128, 1, 2>(),   tile_shape<128, 128, 1, 2, 2>(),
    tile_shape<128, 192, 1, 2>(),   tile_shape<128, 256, 1, 2>(),
};

// A rough time in clocks of an SM: rounds of tiles, each limited by the tensor cores or by what an
// SM gets out of L2, plus filling the pipeline and the epilogue.
double estimate(const TileShape& shape, const Product& p, const Context& context) {
  constexpr double kL2BytesPerClock = 32, kFill = 3000, kEpiloguePerResult = 0.1, kExchange = 2500;
  const int clusters = divide_up(p.rows, shape.rows * shape.row_tiles) *
                       divide_up(p.columns, shape.columns * shape.column_tiles);
  const int rounds = divide_up(clusters, shape.resident_clusters(context));
  const int steps = divide_up(divide_up(p.depth, kDepthStep), shape.split);
  const double multiply = shape.rows * shape.columns * kDepthStep / 4096.0;
  const double bytes = (static_cast<double>(shape.rows) / shape.column_tiles +
                        static_cast<double>(shape.columns) / shape.row_tiles) *
                       kDepthStep;
  const double epilogue = kEpiloguePerResult * shape.rows * shape.columns / shape.split;
  return rounds * (steps * std::max(multiply, bytes / kL2BytesPerClock) + epilogue +
                   (shape.split > 1 ? kExchange : 0)) +
         kFill;
}

// Rows that no tile of 64 would leave over are better off there: the estimate does not know that few
// rows are limited by the bandwidth of the weight. Nor do they gain by a split then, if without one
// half of the multiprocessors have a tile: blocks that go on to the next tile fetch it in time.
bool fits(const TileShape& shape, const Product& p, const Context& context) {
  constexpr int kFewRows = 64;
  if (divide_up(p.depth, kDepthStep) < shape.split) return false;
  if (p.rows > kFewRows) return true;
  const int whole_tiles = divide_up(p.columns, kShapes[0].columns);
  const bool busy = 2 * whole_tiles > context.properties.multiProcessorCount;
  return shape.rows * shape.row_tiles <= kFewRows && !(busy && shape.split > 1);
}

}  // namespace

bool fused_available(const Context& context) {
  return context.properties.major == 9 && context.properties.minor == 0;
}

int suggest_fused_variant(const Product& product, const Context& context) {
  int best = 0;  // which always fits
  double least = estimate(kShapes[best], product, context);
  for (int i = 1; i < static_cast<int>(std::size(kShapes)); ++i) {
    if (!fits(kShapes[i], product, context)) continue;
    const double clocks = estimate(kShapes[i], product, context);
    if (clocks < least) {
      least = clocks;
      best = i;
    }
  }
  return best;
}

std::vector<int> fused_variants(const Product& product, const Context& context) {
  // Where shapes differ by more, the estimate tells them apart better than a timing of a few runs.
  constexpr double kWorthTiming = 1.05;
  const TileShape& best = kShapes[suggest_fused_variant(product, context)];
  const double limit = kWorthTiming * estimate(best, product, context);
  std::vector<int> promising;
  for (int i = 0; i < static_cast<int>(std::size(kShapes)); ++i) {
    if (fits(kShapes[i], product, context) && estimate(kShapes[i], product, context) <= limit) {
      promising.push_back(i);
    }
  }
  return promising;
}

void multiply_fused(const Product& product, int variant, Context& context) {
  kShapes[variant].launch(product, context);
}

}  // namespace fewbit::cuda::int8
