// linear_int8 for few rows on sm_90: the launch of bulk_matmul.
#include <algorithm>

#include "common/launch.h"
#include "int8/bulk_matmul.cuh"
#include "int8/linear_int8.h"

namespace fewbit::cuda::int8 {

namespace {

template <int Held>
void launch_bulk(const Product& product, Context& context) {
  constexpr int64_t kLeastColumns = 8;  // of a block
  // Without it, and the same of int8_quantize for one row, a multiprocessor divides its memory anew
  // from kernel to kernel, for which it has to be empty.
  check(cudaFuncSetAttribute(bulk_matmul<Held>, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        "linear_int8");
  Launch config;
  config.name = "linear_int8";
  config.grid = dim3(static_cast<unsigned>(
      std::min<int64_t>(context.properties.multiProcessorCount,
                        (product.columns + kLeastColumns - 1) / kLeastColumns)));
  config.block = dim3(kBulkThreads);
  config.shared_bytes = sizeof(BulkShared);
  config.overlap = true;
  launch(config, context, bulk_matmul<Held>, product);
}

constexpr int kHeld = 4;

}  // namespace

bool bulk_fits(int64_t rows, int64_t depth, const Context& context) {
  const bool rows_fit = rows == 1 || (rows <= kBulkRows && depth <= kHeld * kBulkSlice);
  return rows_fit && fused_available(context);
}

void multiply_bulk(const Product& product, Context& context) {
  product.depth <= kHeld* kBulkSlice ? launch_bulk<kHeld>(product, context)
                                     : launch_bulk<0>(product, context);
}

}  // namespace fewbit::cuda::int8
