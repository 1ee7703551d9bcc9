// Few-bit codes to wgmma operands in the natural order of K: of 16 neighbouring positions of a row,
// thread t of four takes 2t, 2t + 1 and 2t + 8, 2t + 9. Codes come from a tile in shared memory of one
// or two halves of 64 positions, copied there with the swizzle of the tile's row width.
#pragma once

#include "codes.cuh"

namespace fewbit::cuda::gptq {

constexpr int kTileDepth = 128;  // positions

// Byte at which a row's 16-byte piece lies in a tile with rows of RowBytes.
template <int RowBytes>
__device__ __forceinline__ int swizzled(int row, int piece) {
  static_assert(RowBytes == 16 || RowBytes == 32 || RowBytes == 64 || RowBytes == 128);
  const int mix = RowBytes == 128 ? row : RowBytes == 64 ? row / 2 : RowBytes == 32 ? row / 4 : 0;
  return row * RowBytes + ((piece ^ (mix & (RowBytes / 16 - 1))) * 16);
}

// The words of 64 positions of a row that one thread needs.
template <int Bits>
struct HalfTileWords {
  // Words of 8 positions for 4 bits, of 16 for 2 and 3; for 8 bits the two of every 16 positions that
  // hold the thread's own.
  uint32_t low[Bits == 4 || Bits == 8 ? 8 : 4];
  uint32_t high[Bits == 3 ? 2 : 1];
};

// low and high: shared-memory addresses of the planes' tiles, of which `half` is one of Halves.
template <int Bits, int Halves>
__device__ __forceinline__ HalfTileWords<Bits> load_half_tile(uint32_t low, uint32_t high, int row,
                                                              int half, int part) {
  constexpr int kPieces = kTileDepth / 2 * plane_width(Bits) / 8 / 16;  // in half a row
  constexpr int kRowBytes = Halves * kPieces * 16;
  HalfTileWords<Bits> words;
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    const uint32_t piece =
        low + static_cast<uint32_t>(swizzled<kRowBytes>(row, half * kPieces + i));
    if constexpr (Bits == 8) {
      words.low[2 * i] = load_shared(piece + part / 2 * 4);
      words.low[2 * i + 1] = load_shared(piece + part / 2 * 4 + 8);
    } else {
      const uint4 four = load_shared_four(piece);
      words.low[4 * i] = four.x;
      words.low[4 * i + 1] = four.y;
      words.low[4 * i + 2] = four.z;
      words.low[4 * i + 3] = four.w;
    }
  }
  words.high[0] = 0;
  if constexpr (Bits == 3) {
    const uint2 two = load_shared_two(high + row * 16 + half * 8);
    words.high[0] = two.x;
    words.high[1] = two.y;
  }
  return words;
}

// Turns codes into weights, scale * (code - zero), for one scale and zero point: the difference first,
// which is exact, and then the product. One multiply-add, code * scale - zero * scale, would round the
// addend: by less than a hundredth of a step between codes, but alike for a whole group, which shows as
// three times the error of f16 in a model's logits.
template <class T, int Bits>
class FragmentUnpacker {
 public:
  // grid: see grid_of.
  __device__ __forceinline__ explicit FragmentUnpacker(uint2 grid)
      : scale_(grid.x), offset_(grid.y) {}

  __device__ __forceinline__ static uint2 grid_of(float scale, uint32_t zero) {
    const uint32_t pair = pair_of<T>(scale);
    if constexpr (kByFloat) {
      return {pair, __float_as_uint(8388608.0f + static_cast<float>(zero))};
    } else {
      return {pair, power<T>(Magic<T>::kMantissa) + twice(Magic<T>::kSign) + twice(1) * zero};
    }
  }

  // Step is one of the four 16-position steps of half a tile. near: positions 2t and 2t + 1 of it,
  // far: those 8 further.
  template <int Step>
  __device__ __forceinline__ void unpack(const HalfTileWords<Bits>& words, int part, uint32_t& near,
                                         uint32_t& far) const {
    if constexpr (Bits == 8) {
      near = byte_pair(words.low[2 * Step], part);
      far = byte_pair(words.low[2 * Step + 1], part);
    } else if constexpr (Bits == 4) {
      near = field_pair(rotated(words.low[2 * Step], 4 * part));
      far = field_pair(rotated(words.low[2 * Step + 1], 4 * part));
    } else {
      uint32_t word = rotated(words.low[Step], 2 * part + 8);
      if constexpr (Bits == 3) {
        // The top bits of the two pairs lie 8 apart, as their fields do.
        constexpr uint32_t kBoth = 3u | 3u << 8;
        const int top = ops::gptq::high_bit(Step % 2 * 8 + part) + 8;
        word = select_bits(twice(kBoth), word, rotated(words.high[Step / 2], top - 2));
      }
      near = field_pair(rotated(word, -8));
      far = field_pair(word);
    }
  }

 private:
  static constexpr bool kByFloat = Bits == 8 && Magic<T>::kMantissa < 8;

  __device__ __forceinline__ static uint32_t rotated(uint32_t word, int right) {
    return __funnelshift_r(word, word, static_cast<uint32_t>(right));
  }

  __device__ __forceinline__ uint32_t scaled(uint32_t pair) const {
    return multiply(multiply_add(pair, power<T>(0), offset_, T{}), scale_, T{});
  }

  // The lowest fields of both halves of a word.
  __device__ __forceinline__ uint32_t field_pair(uint32_t word) const {
    constexpr uint32_t kMask = twice((1u << Bits) - 1);
    return scaled(masked_or(word, kMask, power<T>(Magic<T>::kMantissa)));
  }

  // Byte part % 2 of both halves of a word.
  __device__ __forceinline__ uint32_t byte_pair(uint32_t word, int part) const {
    const uint32_t odd = part % 2;
    if constexpr (kByFloat) {
      const float offset = __uint_as_float(offset_);
      const float even = __uint_as_float(__byte_perm(word, 0x4b000000u, 0x7650 + odd)) - offset;
      const float next = __uint_as_float(__byte_perm(word, 0x4b000000u, 0x7652 + odd)) - offset;
      const __nv_bfloat162 both = __floats2bfloat162_rn(even, next);
      return multiply(reinterpret_cast<const uint32_t&>(both), scale_, T{});
    } else {
      return scaled(__byte_perm(word, 0x64646464u, 0x4240 + odd * 0x0101));
    }
  }

  uint32_t scale_, offset_;
};

}  // namespace fewbit::cuda::gptq
