// Radix select by weight: the largest key such that it and all above it weigh enough.
#pragma once

#include "../common/reduce.cuh"
#include "row.cuh"

namespace fewbit::cuda::sample {

constexpr int kDrawThreads = 1024;
constexpr int kDigitBits = 11;
constexpr int kBins = 1 << kDigitBits;

// Integer weights by digit. Halves of 64-bit sums, since shared memory adds 32 bits natively.
struct Histogram {
  uint32_t low[kBins];
  uint32_t high[kBins];
  uint64_t warp_sums[kDrawThreads / 32];
  uint64_t above;  // weight of the keys over the chosen bin
  uint64_t total;
  int bin;

  __device__ void add(int to, uint64_t weight) {
    const uint32_t part = static_cast<uint32_t>(weight);
    const uint32_t before = atomicAdd(&low[to], part);
    const uint32_t upper = static_cast<uint32_t>(weight >> 32) + (before + part < before ? 1 : 0);
    if (upper) atomicAdd(&high[to], upper);
  }
  __device__ uint64_t weight(int of) const {
    return static_cast<uint64_t>(high[of]) << 32 | low[of];
  }
};

// Tokens in question: all of a row, or those that a bound has left, in no particular order.
struct Keys {
  const uint32_t* keys;   // 16-byte aligned, readable up to a multiple of 4
  const int32_t* tokens;  // null: token i has key i
  int64_t count;
};

struct Shortlist {
  static constexpr int kCapacity = 2048;
  alignas(16) uint32_t keys[kCapacity];
  int32_t tokens[kCapacity];
  int count;
};

// Calls body(key, token) for this thread's share.
template <class Body>
__device__ __forceinline__ void for_keys(const Keys& list, Body&& body) {
  if (list.tokens) {
    for (int64_t i = threadIdx.x; i < list.count; i += kDrawThreads) {
      body(list.keys[i], list.tokens[i]);
    }
    return;
  }
  for (int64_t start = int64_t{threadIdx.x} * 4; start < list.count; start += kDrawThreads * 4) {
    const uint4 four = *reinterpret_cast<const uint4*>(list.keys + start);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t key = i == 0 ? four.x : i == 1 ? four.y : i == 2 ? four.z : four.w;
      if (start + i < list.count) body(key, start + i);
    }
  }
}

// Leaves out the keys below a bound, if the others fit the short list. Called by all threads of the
// block. Later passes do the same work on fewer keys; none of them minds the order.
__device__ __forceinline__ Keys shorten(const Keys& list, uint32_t bound, Shortlist& shortlist) {
  if (list.tokens) return list;
  if (threadIdx.x == 0) shortlist.count = 0;
  __syncthreads();
  for_keys(list, [&](uint32_t key, int64_t token) {
    if (key < bound) return;
    const int place = atomicAdd(&shortlist.count, 1);
    if (place >= Shortlist::kCapacity) return;
    shortlist.keys[place] = key;
    shortlist.tokens[place] = static_cast<int32_t>(token);
  });
  __syncthreads();
  if (shortlist.count > Shortlist::kCapacity) return list;
  return {shortlist.keys, shortlist.tokens, shortlist.count};
}

// weight(key) gives a key's weight; needed(total) what the selected ones must weigh, at least 1 and
// at most the total of the keys from floor on. Called by all threads of the block; integer sums make
// the result independent of their order. list is shortened on the way to what lies at the result's
// first digit or above.
template <class Weight, class Needed>
__device__ uint32_t select_key(Keys& list, uint32_t floor, Weight&& weight, Needed&& needed,
                               Histogram& histogram, Shortlist& shortlist) {
  constexpr int kPasses = 3;
  constexpr int kBinsPerThread = kBins / kDrawThreads;
  static_assert(kBinsPerThread == 2);
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  uint32_t prefix = 0, mask = 0;
  uint64_t above = 0, target = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const int shift = pass == 0 ? 21 : pass == 1 ? 10 : 0;
    const uint32_t digits = pass == kPasses - 1 ? 0x3ffu : 0x7ffu;
    for (int i = thread; i < kBins; i += kDrawThreads) histogram.low[i] = histogram.high[i] = 0;
    __syncthreads();
    // Neighbours often fall into one bin: only a change of bin costs an addition in shared memory.
    int bin = -1;
    uint64_t pending = 0;
    for_keys(list, [&](uint32_t key, int64_t) {
      if (key < floor || (key & mask) != prefix) return;
      const uint64_t w = weight(key);
      if (w == 0) return;
      const int to = static_cast<int>(key >> shift & digits);
      if (to != bin && bin >= 0) {
        histogram.add(bin, pending);
        pending = 0;
      }
      bin = to;
      pending += w;
    });
    if (bin >= 0) histogram.add(bin, pending);
    __syncthreads();

    // Running sums from the highest bin down; a thread has two neighbours.
    const int high_bin = kBins - 1 - 2 * thread;
    const uint64_t first = histogram.weight(high_bin), second = histogram.weight(high_bin - 1);
    uint64_t sum = first + second;
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
      const uint64_t before = __shfl_up_sync(kFullWarp, sum, offset);
      if (lane >= offset) sum += before;
    }
    if (lane == 31) histogram.warp_sums[warp] = sum;
    __syncthreads();
    uint64_t before_warp = above;
    for (int w = 0; w < warp; ++w) before_warp += histogram.warp_sums[w];
    if (thread == kDrawThreads - 1) histogram.total = before_warp + sum;
    __syncthreads();
    if (pass == 0) target = needed(histogram.total);
    const uint64_t end = before_warp + sum, middle = end - second, start = middle - first;
    if (start < target && middle >= target) {
      histogram.bin = high_bin;
      histogram.above = start;
    } else if (middle < target && end >= target) {
      histogram.bin = high_bin - 1;
      histogram.above = middle;
    }
    __syncthreads();
    prefix |= static_cast<uint32_t>(histogram.bin) << shift;
    mask |= digits << shift;
    above = histogram.above;
    if (pass == 0) list = shorten(list, max(prefix, floor), shortlist);
  }
  return prefix;
}

}  // namespace fewbit::cuda::sample
