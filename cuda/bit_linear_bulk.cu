// bit_linear for few rows on sm_90: quantization and product in one kernel, see
// bitnet/bulk_matmul.cuh.
#include "bitnet/bulk_layout.cuh"
#include "bitnet/linear_bitnet.h"
#include "common/zeroed.h"

namespace fewbit::cuda::bitnet {

namespace {

template <class T, int Held>
bool launch_quantizing(const Product& p, const Quantize& q, Context& context) {
  using Source = QuantizedRows<T, Held>;
  const Source source{q, context.zeroed->words()};
  const int64_t bytes = Source::bytes(q);
  using Layout = BulkLayout<Source, 16, 1, 4>;
  return Layout::try_launch(p, source, bytes, kHalfSharedBytes, context) ||
         Layout::try_launch(p, source, bytes, kMaxSharedBytes, context);
}

}  // namespace

bool multiply_quantizing(const Product& p, const Quantize& q, Context& context) {
  if (context.properties.major < 9 || p.depth == 0 || p.rows > 8 || !vectors_fit(q)) return false;
  bool launched = false;
  with_float(q.dtype, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (sizeof(T) == 2) {
      constexpr int64_t kChunkColumns = kBulkThreads * kChunk;
      if (q.padded_cols <= kChunkColumns) {
        launched = launch_quantizing<T, 1>(p, q, context);
      } else if (q.padded_cols <= 2 * kChunkColumns) {
        launched = launch_quantizing<T, 2>(p, q, context);
      }
    }
  });
  return launched;
}

}  // namespace fewbit::cuda::bitnet
