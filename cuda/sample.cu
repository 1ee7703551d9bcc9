// sample on CUDA: see src/ops/sample.h. A first kernel spreads each row over many blocks: it
// processes the logits and finds the best token of each part, noise included, which is all that
// greedy rows and rows without filters need. A second, one block a row, picks the best of the parts,
// or selects the thresholds of the filters and draws among the survivors.
#include "../src/ops/sample.h"

#include <algorithm>

#include "common/cuda_op.h"
#include "common/dependency.cuh"
#include "common/launch.h"
#include "sample/select.cuh"

namespace fewbit::cuda {
namespace sample {
namespace {

constexpr int32_t kInactive = -1;
constexpr int32_t kNoDistribution = -2;
constexpr int kScanThreads = 512;
constexpr int kPerThread = 4;
constexpr int kMaxParts = 64;

__global__ void __launch_bounds__(kScanThreads) scan_kernel(const Batch batch) {
  __shared__ uint64_t best_scratch[kScanThreads / 32];
  __shared__ uint32_t key_scratch[kScanThreads / 32];
  const int part = blockIdx.x, row = blockIdx.y;
  start_successor();
  wait_for_predecessor();
  const Row params(batch, row);
  if (!params.active()) return;
  const bool filters = params.filters(), draws = !params.greedy() && !filters;
  const bool penalised = batch.seen && params.penalty != 1.0f;
  const float* logits = batch.logits + row * batch.vocabulary;
  const uint8_t* seen = batch.seen + row * batch.vocabulary;
  uint32_t* keys = batch.keys + row * batch.key_stride;

  uint64_t best = 0;
  uint32_t largest = 0;
  const int64_t share = (batch.vocabulary + batch.parts - 1) / batch.parts;
  const int64_t begin = part * share, end = min(begin + share, batch.vocabulary);
  for (int64_t start = begin + threadIdx.x; start < end; start += kScanThreads * kPerThread) {
    float logit[kPerThread];
    bool marked[kPerThread];
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int64_t token = start + i * kScanThreads;
      logit[i] = token < end ? logits[token] : 0.0f;
      marked[i] = penalised && token < end && seen[token];
    }
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int64_t token = start + i * kScanThreads;
      if (token >= end) continue;
      float value = logit[i];
      if (marked[i]) value = value > 0 ? value / params.penalty : value * params.penalty;
      if (!params.greedy()) value /= params.temperature;
      const uint32_t key = key_of(value);
      largest = max(largest, key);
      if (filters) {
        keys[token] = key;
      } else {
        best = max(best, candidate(draws ? value + params.noise(token) : value, token));
      }
    }
  }
  largest = block_reduce<kScanThreads>(largest, Max{}, key_scratch);
  best = block_reduce<kScanThreads>(best, Max{}, best_scratch);
  if (threadIdx.x == 0)
    batch.partials[static_cast<int64_t>(row) * batch.parts + part] = {best, largest};
}

struct DrawScratch {
  Histogram histogram;
  Shortlist shortlist;
  uint64_t best[kDrawThreads / 32];
};

// Draws a token of a row with filters, whose largest processed logit is given as a key.
__device__ int32_t draw(const Row& params, Keys list, uint32_t largest_key, DrawScratch& scratch) {
  const float largest = value_of(largest_key);
  const auto distance = [&](uint32_t key) {
    return key == largest_key ? 0.0f : value_of(key) - largest;
  };
  uint32_t floor = kMinusInfinityKey + 1;
  if (params.limits_count) {
    const uint64_t count = static_cast<uint64_t>(params.top_k);
    const uint32_t key = select_key(
        list, 0, [](uint32_t) { return uint64_t{1}; }, [=](uint64_t) { return count; },
        scratch.histogram, scratch.shortlist);
    floor = max(floor, key);
  }
  if (params.limits_mass()) {
    // Shares of the mass are compared in whole units, so that no order of summation matters.
    const auto mass = [&](uint32_t key) { return __float2ull_rz(expf(distance(key)) * 0x1p40f); };
    const auto needed = [&](uint64_t total) {
      const double share = ceil(static_cast<double>(params.top_p) * static_cast<double>(total));
      return min(static_cast<uint64_t>(max(share, 1.0)), total);
    };
    floor = max(floor, select_key(list, floor, mass, needed, scratch.histogram, scratch.shortlist));
  }
  const float least = params.min_p > 0 ? logf(params.min_p) : -INFINITY;
  // A little below, since the sum is rounded: the exact test follows.
  const float near_least = largest + least - (fabsf(largest) + fabsf(least)) * 0x1p-20f;
  const uint32_t bound = params.min_p > 0 ? min(key_of(near_least), largest_key) : floor;
  list = shorten(list, max(floor, bound), scratch.shortlist);

  uint64_t best = 0;
  float highest = -INFINITY;
  for_keys(list, [&](uint32_t key, int64_t token) {
    const float logit = distance(key);
    // Most tokens are too unlikely for any noise to lift them.
    if (key < floor || (logit < least && key != largest_key) || logit + kLargestNoise < highest) {
      return;
    }
    const float score = logit + params.noise(token);
    highest = fmaxf(highest, score);
    best = max(best, candidate(score, token));
  });
  return token_of(block_reduce<kDrawThreads>(best, Max{}, scratch.best));
}

__global__ void __launch_bounds__(kDrawThreads) draw_kernel(const Batch batch) {
  __shared__ DrawScratch scratch;
  const int row = blockIdx.x, lane = threadIdx.x % 32;
  start_successor();
  wait_for_predecessor();
  const Row params(batch, row);
  int32_t token = kInactive;
  if (params.active()) {
    // Every warp joins the parts for itself.
    uint64_t best = 0;
    uint32_t largest = 0;
    for (int part = lane; part < batch.parts; part += 32) {
      const Partial partial = batch.partials[static_cast<int64_t>(row) * batch.parts + part];
      best = max(best, partial.best);
      largest = max(largest, partial.largest_key);
    }
    best = warp_reduce(best, Max{});
    largest = warp_reduce(largest, Max{});
    if (largest == kNanKey || largest <= kMinusInfinityKey) {
      token = kNoDistribution;
    } else if (params.filters()) {
      const Keys all{batch.keys + row * batch.key_stride, nullptr, batch.vocabulary};
      token = draw(params, all, largest, scratch);
    } else {
      token = token_of(best);
    }
  }
  if (threadIdx.x == 0) {
    batch.out[row] = token;
    if (batch.seen && token >= 0) batch.seen[row * batch.vocabulary + token] = 1;
  }
}

Batch batch_of(const OpCall& call) {
  using namespace ops::sample;
  const int64_t vocabulary = call[logits].cols();
  const int64_t per_block = kScanThreads * kPerThread;
  const int64_t parts = std::clamp<int64_t>((vocabulary + per_block - 1) / per_block, 1, kMaxParts);
  return {.logits = call[logits].as<float>(),
          .params = call[params].as<float>(),
          .seeds = call[seeds].as<int64_t>(),
          .steps = call[steps].as<int32_t>(),
          .seen = call[seen].as<uint8_t>(),
          .out = call[out].as<int32_t>(),
          .vocabulary = vocabulary,
          .key_stride = (vocabulary + 3) / 4 * 4,
          .rows = static_cast<int32_t>(call[logits].rows()),
          .parts = static_cast<int32_t>(parts),
          .partials = nullptr,
          .keys = nullptr};
}

size_t partial_bytes(const Batch& batch) {
  return (sizeof(Partial) * batch.rows * batch.parts + 255) / 256 * 256;
}

size_t workspace(const OpCall& call, Context&) {
  const Batch batch = batch_of(call);
  return partial_bytes(batch) + sizeof(uint32_t) * batch.rows * batch.key_stride;
}

void run(const OpCall& call, Context& context) {
  Batch batch = batch_of(call);
  if (batch.rows == 0 || batch.vocabulary == 0) return;
  char* bytes = static_cast<char*>(call.workspace);
  batch.partials = reinterpret_cast<Partial*>(bytes);
  batch.keys = reinterpret_cast<uint32_t*>(bytes + partial_bytes(batch));
  const unsigned rows = batch.rows, parts = batch.parts;
  launch({.name = "sample (scan)",
          .grid = dim3(parts, rows),
          .block = dim3(kScanThreads),
          .overlap = true},
         context, scan_kernel, batch);
  launch(
      {.name = "sample (draw)", .grid = dim3(rows), .block = dim3(kDrawThreads), .overlap = true},
      context, draw_kernel, batch);
}

const CudaOp op("sample", run, workspace);

}  // namespace
}  // namespace sample
}  // namespace fewbit::cuda
