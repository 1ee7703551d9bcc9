// linear_int8 with many rows and many outliers: packs their columns before the product, and adds what
// they contribute after it. Both kernels end at once when the outliers turn out to be few.
#include <algorithm>

#include "common/launch.h"
#include "int8/add_packed.cuh"
#include "int8/linear_int8.h"
#include "int8/pack_outliers.cuh"

namespace fewbit::cuda::int8 {

void pack_outliers(const Product& product, Context& context) {
  constexpr int64_t kBlocksPerMultiprocessor = 2;
  const int64_t blocks = (product.rows + product.columns + kPackWarps - 1) / kPackWarps;
  const int64_t most = kBlocksPerMultiprocessor * context.properties.multiProcessorCount;
  Launch config;
  config.name = "linear_int8";
  config.grid = dim3(static_cast<unsigned>(std::min(blocks, most)));
  config.block = dim3(kPackThreads);
  config.overlap = true;
  launch(config, context, copy_outliers, product);
}

void add_packed_outliers(const Product& product, Context& context) {
  const auto tiles = [](int64_t extent) { return (extent + kAddTile - 1) / kAddTile; };
  Launch config;
  config.name = "linear_int8";
  config.grid = dim3(static_cast<unsigned>(tiles(product.rows) * tiles(product.columns)));
  config.block = dim3(kAddThreads);
  config.overlap = true;
  switch (product.out_dtype) {
    case DType::F16:
      return launch(config, context, add_packed<__half>, product);
    case DType::BF16:
      return launch(config, context, add_packed<__nv_bfloat16>, product);
    default:
      return launch(config, context, add_packed<float>, product);
  }
}

}  // namespace fewbit::cuda::int8
