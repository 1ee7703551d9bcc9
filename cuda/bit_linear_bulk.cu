// bit_linear for one row on sm_90: quantization and product in one kernel, see
// bitnet/bulk_matmul.cuh.
#include "bitnet/bulk_layout.cuh"
#include "bitnet/linear_bitnet.h"

namespace fewbit::cuda::bitnet {

namespace {

template <class T, int Held>
bool launch_quantizing(const Product& p, const Quantize& q, Context& context) {
  const QuantizedRow<T, Held> source{q};
  if constexpr (QuantizedRow<T, Held>::kLong) {
    return launch_bulk<1>(p, source, source.bytes(), context);
  } else {
    // Long rows are split among more warps; large shares keep more stages at work.
    if constexpr (Held == 1) {
      if (bulk_fills<QuantizedRow<T, Held>>(p, context) > 2) {
        return launch_bulk<4>(p, source, source.bytes(), context);
      }
    }
    return launch_bulk<2>(p, source, source.bytes(), context);
  }
}

}  // namespace

bool multiply_quantizing(const Product& p, const Quantize& q, Context& context) {
  if (context.properties.major < 9 || p.rows != 1 || p.depth == 0 || !vectors_fit(q)) return false;
  constexpr int64_t kChunkColumns = kBulkThreads * kChunk;
  bool launched = false;
  with_float(q.dtype, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (sizeof(T) == 2) {
      if (q.padded_cols <= kChunkColumns) {
        launched = launch_quantizing<T, 1>(p, q, context);
      } else if (q.padded_cols <= 2 * kChunkColumns) {
        launched = launch_quantizing<T, 2>(p, q, context);
      } else if (q.padded_cols <= 3 * kChunkColumns) {
        launched = launch_quantizing<T, 3>(p, q, context);
      } else if (q.padded_cols <= 7 * kChunkColumns) {
        launched = launch_quantizing<T, 7>(p, q, context);
      }
    }
  });
  return launched;
}

}  // namespace fewbit::cuda::bitnet
