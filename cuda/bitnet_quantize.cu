// bitnet_quantize on CUDA: see src/ops/bitnet_quantize.h.
#include "../src/ops/bitnet_quantize.h"

#include "bitnet/operands.h"
#include "bitnet/quantize_row.cuh"
#include "common/aligned.h"
#include "common/cuda_op.h"
#include "common/launch.h"

namespace fewbit::cuda {

namespace bitnet {

namespace {

template <class T, int Threads, int Chunks, bool Vectors>
void launch_rows(const Quantize& q, Context& context) {
  Launch config;
  config.name = "bitnet_quantize";
  config.grid = dim3(static_cast<unsigned>(q.rows));
  config.block = dim3(Threads);
  config.overlap = true;
  launch(config, context, quantize_row<T, Threads, Chunks, Vectors>, q);
}

// Few rows: as many threads as finish one soonest. Many: so few that all rows are under way at once.
template <class T>
void choose_threads(const Quantize& q, Context& context) {
  const int64_t chunks = q.padded_cols / kChunk;
  if (!vectors_fit(q)) return launch_rows<T, 512, 0, false>(q, context);
  if (q.rows > 4 * context.properties.multiProcessorCount) {
    if (chunks <= 320) return launch_rows<T, 64, 5, true>(q, context);
    if (chunks <= 512) return launch_rows<T, 128, 4, true>(q, context);
    if (chunks <= 864) return launch_rows<T, 288, 3, true>(q, context);
    if (chunks <= 1280) return launch_rows<T, 256, 5, true>(q, context);
  }
  if (chunks <= 128) return launch_rows<T, 128, 1, true>(q, context);
  if (chunks <= 320) return launch_rows<T, 320, 1, true>(q, context);
  if (chunks <= 512) return launch_rows<T, 512, 1, true>(q, context);
  if (chunks <= 1024) return launch_rows<T, 512, 2, true>(q, context);
  if (chunks <= 2048) return launch_rows<T, 512, 4, true>(q, context);
  if (chunks <= 4096) return launch_rows<T, 1024, 4, true>(q, context);
  launch_rows<T, 1024, 0, true>(q, context);
}

}  // namespace

bool vectors_fit(const Quantize& q) {
  const size_t size = size_of(q.dtype);
  const auto fits = [&](const void* data, int64_t stride) {
    return !data || vector_aligned(data, stride, size);
  };
  return q.cols % kChunk == 0 && fits(q.x, q.x_stride) && fits(q.up, q.up_stride) &&
         reinterpret_cast<uintptr_t>(q.weight) % 16 == 0;
}

void quantize(const Quantize& q, Context& context) {
  if (q.rows == 0) return;
  with_float(q.dtype, [&](auto zero) { choose_threads<decltype(zero)>(q, context); });
}

}  // namespace bitnet

namespace {

using namespace ops::bitnet_quantize;

void run(const OpCall& call, Context& context) {
  bitnet::Quantize q = bitnet::quantize_input(call[x], call[up], call[weight],
                                              call.attrs[activation], call.attrs[eps]);
  q.padded_cols = call[codes].cols();
  q.codes = call[codes].as<int8_t>();
  q.scales = call[scales].as<float>();
  q.sums = call[sums].as<int32_t>();
  require_aligned("bitnet_quantize", "codes", call[codes], 8);
  bitnet::quantize(q, context);
}

const CudaOp op("bitnet_quantize", run);

}  // namespace

}  // namespace fewbit::cuda
