// Row-wise int8 quantization with outlier columns; everything is found on the device.
#include "../src/ops/int8_quantize.h"

#include <algorithm>

#include "common/context.h"
#include "common/cuda_op.h"
#include "common/launch.h"
#include "int8/quantize_rows.cuh"

namespace fewbit::cuda {

namespace {

using namespace ops::int8_quantize;
using int8::Quantize;

constexpr size_t kMaxCachedRow = 96 * 1024;
constexpr int kResidentBlocks = 8;  // of int8::kRowThreads on a multiprocessor

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Groups of rows that are searched for outliers on their own, to fill the GPU.
int mark_groups(int64_t rows) {
  return static_cast<int>(std::clamp<int64_t>(divide_up(rows, 256), 1, 8));
}

template <class T, bool Vectors>
void quantize(const Quantize& q, uint32_t* words, Context& context) {
  int8::MarkedColumns marked{};
  Launch config;
  config.overlap = true;
  if (q.threshold > 0) {
    marked = {words, mark_groups(q.rows), static_cast<int>(divide_up(q.cols, 32))};
    config.name = "int8_quantize: marking outlier columns";
    config.grid = dim3(static_cast<unsigned>(divide_up(q.cols, int8::kMarkChunks * int8::kChunk)),
                       static_cast<unsigned>(marked.groups));
    config.block = dim3(int8::kMarkThreads);
    launch(config, context, int8::mark_columns<T, Vectors>, q, marked);
  }
  const size_t word_bytes = static_cast<size_t>(divide_up(marked.word_count, 4)) * 16;
  const size_t row_bytes =
      static_cast<size_t>(divide_up(q.padded_cols, int8::kChunk)) * sizeof(int8::Chunk<T>);
  const bool cached = word_bytes + row_bytes <= kMaxCachedRow;
  const bool list = q.count || q.stats;
  config.name = "int8_quantize";
  const int64_t resident = int64_t{kResidentBlocks} * context.properties.multiProcessorCount;
  config.grid = dim3(static_cast<unsigned>(std::min(q.rows, resident) + (list ? 1 : 0)));
  config.block = dim3(int8::kRowThreads);
  config.shared_bytes = word_bytes + (cached ? row_bytes : 0);
  launch(config, context,
         cached ? int8::quantize_rows<T, Vectors, true> : int8::quantize_rows<T, Vectors, false>, q,
         marked, list);
}

size_t workspace(const OpCall& call, Context&) {
  return static_cast<size_t>(divide_up(call[x].cols(), 32) * mark_groups(call[x].rows())) *
         sizeof(uint32_t);
}

void run(const OpCall& call, Context& context) {
  Quantize q{};
  q.x = call[x].data;
  q.rows = call[x].rows();
  q.cols = call[x].cols();
  q.padded_cols = call[codes].shape[1];
  q.codes = call[codes].as<int8_t>();
  q.scales = call[scales].as<float>();
  q.threshold = static_cast<float>(call.attrs[threshold]);
  q.bitsandbytes = call.attrs[mode] == Bitsandbytes;
  if (call[columns]) q.columns = call[columns].as<int32_t>();
  if (call[count]) q.count = call[count].as<int32_t>();
  if (call[stats]) q.stats = call[stats].as<long long>();
  if (q.rows == 0) {
    if (q.count) {
      check(cudaMemsetAsync(q.count, 0, sizeof(int32_t), context.stream), "int8_quantize");
    }
    return;
  }
  auto* words = static_cast<uint32_t*>(call.workspace);
  with_float(call[x].dtype, [&](auto zero) {
    using T = decltype(zero);
    const bool vectors = q.cols % int8::kChunk == 0 && q.padded_cols % int8::kChunk == 0 &&
                         vector_aligned(q.x, q.cols, sizeof(T)) &&
                         reinterpret_cast<uintptr_t>(q.codes) % 8 == 0;
    if (vectors) {
      quantize<T, true>(q, words, context);
    } else {
      quantize<T, false>(q, words, context);
    }
  });
}

const CudaOp op("int8_quantize", run, workspace);

}  // namespace

}  // namespace fewbit::cuda
