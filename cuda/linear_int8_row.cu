// linear_int8 for one row and a weight of no more than 64 MiB on sm_90: the launch of row_matmul.
#include <algorithm>

#include "common/launch.h"
#include "int8/linear_int8.h"
#include "int8/row_matmul.cuh"

namespace fewbit::cuda::int8 {

namespace {

template <int Held>
void launch_row(const Product& product, Context& context) {
  constexpr int64_t kLeastColumns = 8;  // of a block
  // Without it, and the same of int8_quantize for one row, a multiprocessor divides its memory anew
  // from kernel to kernel, for which it has to be empty.
  check(cudaFuncSetAttribute(row_matmul<Held>, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        "linear_int8");
  Launch config;
  config.name = "linear_int8";
  config.grid = dim3(static_cast<unsigned>(
      std::min<int64_t>(context.properties.multiProcessorCount,
                        (product.columns + kLeastColumns - 1) / kLeastColumns)));
  config.block = dim3(kRowThreads);
  config.shared_bytes = sizeof(RowShared);
  config.overlap = true;
  launch(config, context, row_matmul<Held>, product);
}

constexpr int kHeld = 4;
// With more, what it gains by fetching ahead of its time is little beside what it takes.
constexpr int64_t kMaxWeightBytes = int64_t{64} << 20;

}  // namespace

bool row_fits(int64_t rows, int64_t weight_bytes, const Context& context) {
  return rows == 1 && weight_bytes <= kMaxWeightBytes && fused_available(context);
}

void multiply_row(const Product& product, Context& context) {
  product.depth <= kHeld* kRowSlice ? launch_row<kHeld>(product, context)
                                    : launch_row<0>(product, context);
}

}  // namespace fewbit::cuda::int8
