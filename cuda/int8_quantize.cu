// Row-wise int8 quantization with outlier columns; everything is found on the device.
#include "../src/ops/int8_quantize.h"

#include <algorithm>

#include "common/cuda_op.h"
#include "common/launch.h"
#include "common/zeroed.h"
#include "int8/quantize_cluster.cuh"
#include "int8/quantize_row.cuh"
#include "int8/quantize_rows.cuh"

namespace fewbit::cuda {

namespace {

using namespace ops::int8_quantize;
using int8::Quantize;

// What a block of quantize_rows may keep of its rows, so that kRowBlocks fit on a multiprocessor, or one
// beside what it has anyway where there is less memory.
constexpr size_t kMaxCachedBytes = 100 * 1024;
constexpr size_t kOtherBytes = 2 * 1024;
// Beyond this a cluster takes longer to search x than a grid needs to meet; and what it may keep.
constexpr int64_t kMaxClusterValues = 200 * 1000;
constexpr int64_t kMaxClusterRows = 48;
constexpr size_t kMaxClusterBytes = 160 * 1024;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

int8::Slice slice_of(const Quantize& q) {
  const int64_t blocks = int8::kMaxClusterBlocks;
  const int64_t chunks =
      divide_up(divide_up(q.padded_cols, int8::kChunk), blocks * int8::kChunksPerWord) *
      int8::kChunksPerWord;
  const int64_t groups = std::clamp<int64_t>(int8::kClusterThreads / chunks, 1, q.rows);
  return {static_cast<int>(blocks), static_cast<int>(chunks), static_cast<int>(groups)};
}

template <class T>
size_t row_bytes(const Quantize& q) {
  return static_cast<size_t>(divide_up(q.padded_cols, int8::kChunk)) * sizeof(int8::Chunk<T>);
}

template <class T>
bool fits_cluster(const Quantize& q, const Context& context) {
  return q.threshold > 0 && context.properties.major >= 9 && q.rows <= kMaxClusterRows &&
         q.rows * q.padded_cols <= kMaxClusterValues &&
         slice_of(q).word_bytes() + row_bytes<T>(q) <= kMaxClusterBytes;
}

template <class T, bool Vectors>
void quantize_one_row(const Quantize& q, Context& context) {
  Launch config;
  config.name = "int8_quantize";
  // As bulk_matmul has it, which comes next.
  check(cudaFuncSetAttribute(int8::quantize_row<T, Vectors>,
                             cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        config.name);
  config.block = dim3(int8::kOneRowThreads);
  config.overlap = true;
  launch(config, context, int8::quantize_row<T, Vectors>, q);
}

template <class T, bool Vectors>
void quantize_in_clusters(const Quantize& q, Context& context) {
  const int8::Slice slice = slice_of(q);
  Launch config;
  config.name = "int8_quantize";
  config.grid = dim3(static_cast<unsigned>(divide_up(q.rows, slice.blocks) * slice.blocks));
  config.block = dim3(int8::kClusterThreads);
  config.cluster = slice.blocks;
  config.shared_bytes = slice.word_bytes() + row_bytes<T>(q);
  config.overlap = true;
  launch(config, context, int8::quantize_cluster<T, Vectors>, q, slice);
}

template <class T, bool Vectors>
void quantize_by_rows(const Quantize& q, Context& context) {
  const auto kernel = int8::quantize_rows<T, Vectors>;
  const bool list = q.count || q.stats;
  const int words = q.threshold > 0 ? static_cast<int>(divide_up(q.cols, 32)) : 0;
  const size_t word_bytes = static_cast<size_t>(divide_up(words, 4)) * 16;
  const size_t one_row = row_bytes<T>(q);
  const int64_t multiprocessors = context.properties.multiProcessorCount;
  int64_t blocks = std::min(q.rows, int8::kRowBlocks * multiprocessors - list);
  const size_t most =
      std::min(kMaxCachedBytes, context.properties.sharedMemPerBlockOptin - kOtherBytes);
  const int64_t fitting = (most - std::min(word_bytes, most)) / one_row;
  const int64_t cached = std::min(fitting, divide_up(q.rows, blocks));
  Launch config;
  config.name = "int8_quantize";
  config.block = dim3(int8::kRowThreads);
  config.shared_bytes = word_bytes + static_cast<size_t>(cached) * one_row;
  config.overlap = true;
  // Blocks that wait for each other have to fit on the GPU together.
  int resident = 0;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(config.shared_bytes)),
        config.name);
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, int8::kRowThreads,
                                                      config.shared_bytes),
        config.name);
  blocks = std::min(blocks, std::max(resident, 1) * multiprocessors - list);
  config.grid = dim3(static_cast<unsigned>(blocks + list));
  const bool meet =
      words > 0 && static_cast<size_t>(words) + int8::Meeting::kCounterWords <= Zeroed::kWords;
  launch(config, context, kernel, q, int8::Meeting{meet ? context.zeroed->words() : nullptr}, words,
         static_cast<int>(cached), list);
}

template <class T, bool Vectors>
void quantize(const Quantize& q, Context& context) {
  if (q.rows == 1 && q.padded_cols <= int8::kOneRowValues) {
    return quantize_one_row<T, Vectors>(q, context);
  }
  fits_cluster<T>(q, context) ? quantize_in_clusters<T, Vectors>(q, context)
                              : quantize_by_rows<T, Vectors>(q, context);
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
  q.bitsandbytes = static_cast<int>(call.attrs[mode]) == Bitsandbytes;
  if (call[columns]) q.columns = call[columns].as<int32_t>();
  if (call[count]) q.count = call[count].as<int32_t>();
  if (call[stats]) q.stats = call[stats].as<long long>();
  context.recent_writes.add(q.codes, static_cast<size_t>(call[codes].elements()));
  if (q.rows == 0) {
    if (q.count) {
      check(cudaMemsetAsync(q.count, 0, sizeof(int32_t), context.stream), "int8_quantize");
    }
    return;
  }
  with_float(call[x].dtype, [&](auto zero) {
    using T = decltype(zero);
    const bool vectors = q.cols % int8::kChunk == 0 && q.padded_cols % int8::kChunk == 0 &&
                         vector_aligned(q.x, q.cols, sizeof(T)) &&
                         reinterpret_cast<uintptr_t>(q.codes) % 8 == 0;
    if (vectors) {
      quantize<T, true>(q, context);
    } else {
      quantize<T, false>(q, context);
    }
  });
}

const CudaOp op("int8_quantize", run);

}  // namespace

}  // namespace fewbit::cuda
