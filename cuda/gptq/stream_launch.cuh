// The shapes of stream_matmul that are compiled, and their launch. linear_gptq_stream.cu and
// linear_gptq_stream_bf16.cu each instantiate one type.
#pragma once

#include "../common/launch.h"
#include "stream_matmul.cuh"

namespace fewbit::cuda::gptq {

// Shapes for few rows differ in how many codes are under way and in how blocks fall on the
// multiprocessors, not in their results. The last serves any number of rows.
enum StreamVariant { kDeep, kCrowded, kTall, kPairTall, kPairDeep, kMany };

// Blocks on a multiprocessor whose registers fit.
constexpr int crowd_of(int bits) { return bits == 3 ? 3 : 4; }

inline bool is_coarse(const Weight& w) { return w.groups <= 1 || w.group_size % kPiece == 0; }

template <class T, int Bits, int RowTiles, int BatchTiles, int Stage, bool Fine, int MinBlocks>
void launch_stream(const LinearGptq& linear, Context& context) {
  using Shape = StreamShape<T, RowTiles, BatchTiles, Fine>;
  const Weight& w = linear.weight;
  Launch config;
  config.name = "linear_gptq";
  config.grid = dim3(static_cast<unsigned>((w.rows + Shape::kColumns - 1) / Shape::kColumns),
                     static_cast<unsigned>((linear.rows + Shape::kRows - 1) / Shape::kRows));
  config.block = dim3(kStreamThreads);
  config.shared_bytes = Shape::shared_bytes(w.positions);
  config.overlap = is_captured(context);
  launch(config, context, stream_matmul<T, Bits, RowTiles, BatchTiles, Stage, Fine, MinBlocks>,
         linear, w.to_group(Fine ? kChunk : kPiece));
}

template <class T, int Bits>
void launch_coarse(const LinearGptq& linear, int variant, Context& context) {
  constexpr int kCrowd = crowd_of(Bits);
  switch (variant) {
    case kDeep:
      return launch_stream < T, Bits, 1, 1, Bits == 8 ? 2 : 4, false, 2 > (linear, context);
    case kCrowded:
      return launch_stream<T, Bits, 1, 1, 1, false, kCrowd>(linear, context);
    case kTall:
      return launch_stream<T, Bits, 2, 1, 1, false, kCrowd - 1>(linear, context);
    case kPairTall:
      return launch_stream<T, Bits, 2, 2, 1, false, 2>(linear, context);
    case kPairDeep:
      return launch_stream<T, Bits, 2, 2, 2, false, 1>(linear, context);
    default:
      return launch_stream<T, Bits, 2, 8, 1, false, 1>(linear, context);
  }
}

// Small groups are rarer: one shape each.
template <class T, int Bits>
void launch_fine(const LinearGptq& linear, Context& context) {
  if (linear.rows <= 8) return launch_stream<T, Bits, 1, 1, 1, true, 3>(linear, context);
  if (linear.rows <= 16) return launch_stream<T, Bits, 1, 2, 1, true, 2>(linear, context);
  launch_stream<T, Bits, 2, 8, 1, true, 1>(linear, context);
}

template <class T, int Bits>
void launch_width(const LinearGptq& linear, int variant, Context& context) {
  is_coarse(linear.weight) ? launch_coarse<T, Bits>(linear, variant, context)
                           : launch_fine<T, Bits>(linear, context);
}

template <class T>
void launch_stream_of(const LinearGptq& linear, int variant, Context& context) {
  switch (linear.weight.bits) {
    case 2:
      return launch_width<T, 2>(linear, variant, context);
    case 3:
      return launch_width<T, 3>(linear, variant, context);
    case 4:
      return launch_width<T, 4>(linear, variant, context);
    default:
      return launch_width<T, 8>(linear, variant, context);
  }
}

// linear_gptq_stream_bf16.cu
void launch_stream_bf16(const LinearGptq& linear, int variant, Context& context);

}  // namespace fewbit::cuda::gptq
