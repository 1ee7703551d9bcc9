// What the kernels of sample know of one row, and the keys they order tokens by.
#pragma once

#include "../../src/core/philox.h"
#include "../../src/ops/sample.h"
#include "../common/context.h"

namespace fewbit::cuda::sample {

// Keys order floats as unsigned integers, with one zero. A NaN of either sign stands above all
// numbers.
constexpr uint32_t kNanKey = 0xffffffffu;
constexpr uint32_t kMinusInfinityKey = 0x007fffffu;

__device__ __forceinline__ uint32_t key_of(float value) {
  const uint32_t bits = __float_as_uint(value + 0.0f);  // -0 becomes 0
  if ((bits & 0x7fffffffu) > 0x7f800000u) return kNanKey;
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float value_of(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// A token and its score as one number whose maximum is the highest score, and the lowest id among
// equals.
__device__ __forceinline__ uint64_t candidate(float score, int64_t token) {
  return static_cast<uint64_t>(key_of(score)) << 32 | (0xffffffffu - static_cast<uint32_t>(token));
}
__device__ __forceinline__ int32_t token_of(uint64_t candidate) {
  return static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(candidate));
}

// What one block of the scan found.
struct Partial {
  uint64_t best;         // candidate()
  uint32_t largest_key;  // of the processed logits, without noise
};

struct Batch {
  const float* logits;
  const float* params;
  const int64_t* seeds;
  const int32_t* steps;
  uint8_t* seen;  // null: none
  int32_t* out;
  int64_t vocabulary;
  int64_t key_stride;  // of a row of keys, a multiple of 4
  int32_t rows, parts;
  Partial* partials;  // [rows, parts]
  uint32_t* keys;     // [rows, key_stride]: processed logits of rows that filter
};

struct Row {
  float temperature, top_k, top_p, min_p, penalty;
  uint32_t key[2];
  uint32_t step;

  __device__ Row(const Batch& batch, int row) {
    const float* param = batch.params + row * ops::sample::param_count;
    temperature = param[ops::sample::temperature];
    top_k = param[ops::sample::top_k];
    top_p = param[ops::sample::top_p];
    min_p = param[ops::sample::min_p];
    penalty = param[ops::sample::repetition_penalty];
    const uint64_t seed = static_cast<uint64_t>(batch.seeds[row]);
    key[0] = static_cast<uint32_t>(seed);
    key[1] = static_cast<uint32_t>(seed >> 32);
    step = static_cast<uint32_t>(batch.steps[row]);
    limits_count = top_k >= 1 && top_k < static_cast<float>(batch.vocabulary);
  }

  bool limits_count;
  __device__ bool limits_mass() const { return top_p < 1; }
  __device__ bool active() const { return temperature >= 0; }
  __device__ bool greedy() const { return temperature == 0; }
  __device__ bool filters() const {
    return !greedy() && (limits_count || limits_mass() || min_p > 0);
  }

  // Gumbel noise of a token. Towards 1 the logarithm of u loses its digits in fp32, that of 1 - u
  // does not.
  __device__ float noise(int64_t token) const {
    const uint32_t counter[4] = {static_cast<uint32_t>(token), step, 0, 0};
    uint32_t words[4];
    philox4x32_10(counter, key, words);
    const uint32_t h = words[0];
    const float u = (static_cast<float>(h) + 0.5f) * 0x1p-32f;
    const float rest = (static_cast<float>(~h) + 0.5f) * 0x1p-32f;
    return -logf(h < 0x80000000u ? -logf(u) : -log1pf(-rest));
  }
};

// No noise exceeds this: -log(-log(1 - 2^-33)) = 22.87...
constexpr float kLargestNoise = 22.9f;

}  // namespace fewbit::cuda::sample
