// The key and the value that a decode step brings for a head: on their way into codes, and from there
// into the tile that holds them and into the cache.
#pragma once

#include "../attention/splits.cuh"
#include "fragments.cuh"
#include "key_feedback.cuh"

namespace fewbit::cuda::kv {

// In shared memory: key, then value.
template <int Bits, int Dim>
struct NewToken {
  static constexpr int kRowWords = RowShape<Bits, Dim>::kRowBytes / 4;
  static constexpr int kPadded = (Dim + 31) / 32 * 32;
  uint32_t words[2][kRowWords];
  uint32_t codes[2][kPadded / 4];  // one in each byte
  __half2 scales[2];               // dynamic ones
};

// One of the two, in the lanes of a warp.
template <int Bits, int Dim, bool Dynamic>
struct NewRow {
  using Lanes = PairLanes<Dim>;
  using Token = NewToken<Bits, Dim>;
  static constexpr float kLargest = ops::kv::largest_code(Bits);
  uint32_t elements[Lanes::kRuns][2], partners[Lanes::kRuns][2];  // which turn with each other
  typename Lanes::Values cosine, sine;
  typename Lanes::Values scale, zero;  // static
  KeyFeedback<Bits, Dim> feedback;
  bool turns, has_feedback = false;

  // What no kernel writes. angles: those of the token's position, or null.
  __device__ __forceinline__ void turn(const float* angles) {
    turns = angles;
    if (!turns) return;
    Lanes::each([&](int c, int e, int element) {
      const bool first = element < Dim / 2;
      cosine[c][e] = angles[first ? element : element - Dim / 2];
      sine[c][e] = angles[first ? element + Dim / 2 : element];
    });
  }
  __device__ __forceinline__ void load_grid(const Problem& problem, const float* grid,
                                            int kv_head) {
    Lanes::each([&](int c, int e, int element) {
      scale[c][e] = problem.scale_of(grid, kv_head, element);
      zero[c][e] = problem.zero_of(grid, kv_head, element);
    });
  }
  // weights: of the head.
  __device__ __forceinline__ void load_feedback(const __half* weights) {
    if constexpr (!Dynamic) feedback.load(weights);
    has_feedback = true;
  }

  __device__ __forceinline__ void load(const void* x, int64_t first, bool rotated) {
    Lanes::each([&](int c, int e, int element) {
      elements[c][e] = load_bits(x, first + element);
      const int partner = element < Dim / 2 ? element + Dim / 2 : element - Dim / 2;
      partners[c][e] = rotated ? load_bits(x, first + partner) : 0u;
    });
  }

  // Rotates (which is not rounded) and finds the codes: of the token's key (0) or value (1).
  __device__ __forceinline__ void quantize(DType dtype, Token& token, int which) {
    typename Lanes::Values values;
    Lanes::each([&](int c, int e, int element) {
      values[c][e] = value_of(dtype, elements[c][e]);
      if (!turns) return;
      const float partner = value_of(dtype, partners[c][e]);
      const float turned = element < Dim / 2 ? -partner : partner;
      values[c][e] = values[c][e] * cosine[c][e] + turned * sine[c][e];
    });
    const int lane = threadIdx.x % 32;
    auto* codes = reinterpret_cast<uint8_t*>(token.codes[which]);
    const auto put = [&](int element, float code) { codes[element] = static_cast<uint8_t>(code); };
    if constexpr (Dynamic) {
      float least = INFINITY, most = -INFINITY;
      Lanes::each([&](int c, int e, int) {
        least = fminf(least, values[c][e]);
        most = fmaxf(most, values[c][e]);
      });
      const __half2 pair =
          scale_pair(-warp_reduce(-least, Max{}), warp_reduce(most, Max{}), kLargest);
      if (lane == 0) token.scales[which] = pair;
      Lanes::each([&](int c, int e, int element) {
        put(element, dynamic_code(values[c][e], pair, kLargest));
      });
    } else if (KeyFeedback<Bits, Dim>::kKnown && has_feedback) {
      feedback.round(values, scale, zero, put);
    } else {
      Lanes::each([&](int c, int e, int element) {
        put(element, static_code(values[c][e], scale[c][e], zero[c][e], kLargest));
      });
    }
    if (Dim + lane < Token::kPadded) codes[Dim + lane] = 0;
    __syncwarp();
    for (int i = lane; i < Token::kRowWords; i += 32) {
      token.words[which][i] =
          pack_word<Bits>(token.codes[which], i, RowShape<Bits, Dim>::kLowWords);
    }
  }
};

// Puts a token where it belongs in the caches. By a warp.
template <int Bits, int Dim>
__device__ __forceinline__ void store_token(const NewToken<Bits, Dim>& token,
                                            const Problem& problem, uint32_t cache_row) {
  const int lane = threadIdx.x % 32;
  auto* key = reinterpret_cast<uint32_t*>(const_cast<uint8_t*>(problem.key_row(cache_row)));
  auto* value = reinterpret_cast<uint32_t*>(const_cast<uint8_t*>(problem.value_row(cache_row)));
  for (int i = lane; i < token.kRowWords; i += 32) {
    key[i] = token.words[0][i];
    value[i] = token.words[1][i];
  }
  if (problem.key_grid || lane > 0) return;
  const_cast<__half2*>(problem.key_scales)[cache_row] = token.scales[0];
  const_cast<__half2*>(problem.value_scales)[cache_row] = token.scales[1];
}

}  // namespace fewbit::cuda::kv
