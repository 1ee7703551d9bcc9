// linear_gptq for few rows: codes straight from memory into the tensor cores.
#include "common/launch.h"
#include "gptq/linear_gptq.h"
#include "gptq/stream_matmul.cuh"

#include <cstdlib>

namespace fewbit::cuda::gptq {

namespace {

bool coarse(const Weight& w) { return w.groups <= 1 || w.group_size % kPiece == 0; }

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
  const float to_group =
      w.groups == 1 ? 0.0f
                    : static_cast<float>(Fine ? kChunk : kPiece) / static_cast<float>(w.group_size);
  launch(config, context, stream_matmul<T, Bits, RowTiles, BatchTiles, Stage, Fine, MinBlocks>,
         linear, to_group);
}

template <class T, int Bits, bool Fine>
void launch_for_rows(const LinearGptq& linear, Context& context) {
#ifdef FEWBIT_LAB
  {
    constexpr int S8 = Bits == 8 ? 2 : 1;
    const char* v = getenv("FEWBIT_GPTQ_V");
    const int variant = v ? atoi(v) : 0;
    if (linear.rows <= 8) switch (variant) {
        case 1:
          return launch_stream<T, Bits, 1, 1, 4 / S8, Fine, 2>(linear, context);
        case 2:
          return launch_stream<T, Bits, 1, 1, 2 / S8, Fine, 3>(linear, context);
        case 3:
          return launch_stream<T, Bits, 1, 1, 1, Fine, 4>(linear, context);
        case 4:
          return launch_stream<T, Bits, 1, 1, 4 / S8, Fine, 3>(linear, context);
        case 5:
          return launch_stream<T, Bits, 2, 1, 1, Fine, 3>(linear, context);
        case 6:
          return launch_stream<T, Bits, 2, 1, 2 / S8, Fine, 2>(linear, context);
      }
    else if (linear.rows <= 16)
      switch (variant) {
        case 1:
          return launch_stream<T, Bits, 2, 2, 1, Fine, 2>(linear, context);
        case 2:
          return launch_stream<T, Bits, 1, 2, 2 / S8, Fine, 2>(linear, context);
        case 3:
          return launch_stream<T, Bits, 1, 2, 1, Fine, 3>(linear, context);
        case 4:
          return launch_stream<T, Bits, 1, 2, 1, Fine, 2>(linear, context);
        case 5:
          return launch_stream<T, Bits, 1, 2, 4 / S8, Fine, 2>(linear, context);
      }
  }
#endif
  constexpr int kStage = Bits == 8 ? 1 : 2;
  if (linear.rows <= 8) {
    launch_stream<T, Bits, 1, 1, kStage, Fine, 4>(linear, context);
  } else if (linear.rows <= 16) {
    launch_stream<T, Bits, 2, 2, kStage, Fine, 2>(linear, context);
  } else {
    launch_stream<T, Bits, 2, 8, 1, Fine, 1>(linear, context);
  }
}

template <class T>
void launch_for_bits(const LinearGptq& linear, Context& context) {
#ifdef FEWBIT_LAB
  if constexpr (std::is_same_v<T, __half>) {
    if (linear.weight.bits == 2) return launch_for_rows<T, 2, false>(linear, context);
    if (linear.weight.bits == 3) return launch_for_rows<T, 3, false>(linear, context);
    if (linear.weight.bits == 4) return launch_for_rows<T, 4, false>(linear, context);
  }
  return;
#else
  const bool fine = !coarse(linear.weight);
  switch (linear.weight.bits) {
    case 2:
      return fine ? launch_for_rows<T, 2, true>(linear, context)
                  : launch_for_rows<T, 2, false>(linear, context);
    case 3:
      return fine ? launch_for_rows<T, 3, true>(linear, context)
                  : launch_for_rows<T, 3, false>(linear, context);
    case 4:
      return fine ? launch_for_rows<T, 4, true>(linear, context)
                  : launch_for_rows<T, 4, false>(linear, context);
    default:
      return fine ? launch_for_rows<T, 8, true>(linear, context)
                  : launch_for_rows<T, 8, false>(linear, context);
  }
#endif
}

}  // namespace

bool stream_fits(const LinearGptq& linear, const Context& context) {
  const Weight& w = linear.weight;
  const bool groups_fit = w.groups <= 1 || w.group_size % kChunk == 0;
  const size_t shared = coarse(w) ? StreamShape<__half, 2, 8, false>::shared_bytes(w.positions)
                                  : StreamShape<__half, 2, 8, true>::shared_bytes(w.positions);
  return groups_fit && shared <= context.properties.sharedMemPerBlockOptin && linear.depth % 8 == 0;
}

void multiply_streaming(const LinearGptq& linear, Context& context) {
  with_half(linear.dtype, "linear_gptq: x",
            [&](auto zero) { launch_for_bits<decltype(zero)>(linear, context); });
}

}  // namespace fewbit::cuda::gptq
