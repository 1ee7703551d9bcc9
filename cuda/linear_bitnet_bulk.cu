// linear_bitnet for few rows on sm_90, on codes that bitnet_quantize left: see
// bitnet/bulk_matmul.cuh.
#include "bitnet/bulk_layout.cuh"
#include "bitnet/linear_bitnet.h"

namespace fewbit::cuda::bitnet {

bool multiply_bulk(const Product& p, Context& context) {
  if (context.properties.major < 9 || p.rows > StoredRows::kRows || p.depth == 0) return false;
  const int64_t bytes = StoredRows::bytes(p);
  const StoredRows source;
  // Long rows are split among more warps; large shares keep more stages at work.
  if (p.depth <= 4096 && bulk_fills<StoredRows>(p, context) > 2 &&
      launch_bulk<4>(p, source, bytes, context)) {
    return true;
  }
  return launch_bulk<2>(p, source, bytes, context);
}

}  // namespace fewbit::cuda::bitnet
