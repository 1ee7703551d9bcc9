// linear_bitnet for few rows on sm_90, on codes that bitnet_quantize left: see
// bitnet/bulk_matmul.cuh.
#include "bitnet/bulk_layout.cuh"
#include "bitnet/linear_bitnet.h"

namespace fewbit::cuda::bitnet {

bool multiply_bulk(const Product& p, Context& context) {
  if (context.properties.major < 9 || p.rows > kBulkRows || p.depth == 0) return false;
  const int64_t bytes = StoredRows::bytes(p);
  const StoredRows source;
  // Long rows are split among more warps; large shares keep more stages at work.
  const int64_t share = bulk_share(p, context);
  if (p.depth > 4096 && share <= 32 && launch_bulk<32, 1>(p, source, bytes, context)) return true;
  if (p.depth > 4096 && launch_bulk<32, 2>(p, source, bytes, context)) return true;
  if (share > 32 && launch_bulk<16, 4>(p, source, bytes, context)) return true;
  return launch_bulk<16, 2>(p, source, bytes, context);
}

}  // namespace fewbit::cuda::bitnet
