// linear_int8 for few rows on sm_90: the launch of bulk_matmul.
#include <algorithm>

#include "common/launch.h"
#include "common/tensor_map.h"
#include "int8/bulk_matmul.cuh"
#include "int8/linear_int8.h"

namespace fewbit::cuda::int8 {

namespace {

constexpr int64_t kMaxRows = 16;
constexpr int kRingBytes = 200 * 1024;

// Rows of W in a tile, for a block with so many: as even as possible, since a small last tile would
// take as many steps as the others.
int tile_of(int64_t rows) {
  constexpr int64_t kSmaller = 24;
  const auto fetched = [&](int64_t tile) { return (rows + tile - 1) / tile * tile; };
  const int64_t tile = fetched(kSmaller) < fetched(kBulkTile) ? kSmaller : kBulkTile;
  return static_cast<int>(std::min(tile, (rows + 7) / 8 * 8));
}

template <int Rows>
void launch_bulk(const Product& product, Context& context) {
  using Shape = BulkShape<Rows>;
  constexpr int64_t kLeastColumns = 8;  // of a block
  const int64_t blocks = std::min<int64_t>(context.properties.multiProcessorCount,
                                           (product.columns + kLeastColumns - 1) / kLeastColumns);
  BulkPlan plan{};
  plan.tile = tile_of((product.columns + blocks - 1) / blocks);
  const int64_t tiles = ((product.columns + blocks - 1) / blocks + plan.tile - 1) / plan.tile;
  const int64_t slices = (product.depth + kSliceBytes - 1) / kSliceBytes;
  plan.stages = std::min(kMaxBulkStages, kRingBytes / Shape::stage_bytes(plan.tile));
  plan.stages = static_cast<int>(std::min<int64_t>(plan.stages, tiles * slices));
  // Without it, and the same of int8_quantize for one row, a multiprocessor divides its memory anew
  // from kernel to kernel, for which it has to be empty.
  check(cudaFuncSetAttribute(bulk_matmul<Rows>, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        "linear_int8");
  Launch config;
  config.name = "linear_int8";
  config.grid = dim3(static_cast<unsigned>(blocks));
  config.block = dim3(Shape::kThreads);
  config.shared_bytes = Shape::shared_bytes(plan);
  config.overlap = true;
  launch(config, context, bulk_matmul<Rows>,
         byte_matrix_map(product.weight, product.weight_rows, product.depth, plan.tile),
         byte_matrix_map(product.codes, product.rows, product.depth, Shape::kRows), product, plan);
}

}  // namespace

bool bulk_fits(int64_t rows, const Context& context) {
  return rows <= kMaxRows && fused_available(context);
}

void multiply_bulk(const Product& product, Context& context) {
  if (product.rows == 1) return launch_bulk<1>(product, context);
  product.rows <= 8 ? launch_bulk<8>(product, context) : launch_bulk<16>(product, context);
}

}  // namespace fewbit::cuda::int8
