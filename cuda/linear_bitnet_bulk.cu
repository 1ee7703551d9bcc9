// linear_bitnet for few rows on sm_90, on codes that bitnet_quantize left: see
// bitnet/bulk_matmul.cuh.
#include "bitnet/bulk_layout.cuh"
#include "bitnet/linear_bitnet.h"

namespace fewbit::cuda::bitnet {

namespace {

constexpr int kMaxRows = 16;

}  // namespace

bool bulk_available(const Product& p, const Context& context) {
  if (context.properties.major < 9 || p.rows > kMaxRows || p.depth == 0) return false;
  return p.rows <= 8 ? BulkLayout<StoredRows, 8, 1, 1>::fits(p, context, kMaxSharedBytes)
                     : BulkLayout<StoredRows, 8, 2, 1>::fits(p, context, kMaxSharedBytes);
}

void multiply_bulk(const Product& p, Context& context) {
  const bool launched = p.rows <= 8 ? launch_bulk<1>(p, StoredRows{}, 0, context)
                                    : launch_bulk<2>(p, StoredRows{}, 0, context);
  if (!launched) throw Error("ERR_FEWBIT_SHAPE", "linear_bitnet: no layout");
}

}  // namespace fewbit::cuda::bitnet
