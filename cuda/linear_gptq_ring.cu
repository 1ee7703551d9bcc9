// linear_gptq for one to 16 rows on sm_90: which shape of ring_matmul, and its launch.
#include "common/launch.h"
#include "common/tensor_map.h"
#include "gptq/linear_gptq.h"
#include "gptq/ring_matmul.cuh"

namespace fewbit::cuda::gptq {

namespace {

constexpr int64_t kMaxRows = 16;
// Of tiles for each multiprocessor: with no more, blocks of two would leave most of them idle.
constexpr double kFewTiles = 0.5;
constexpr int64_t kReservedBytes = 1024;  // of shared memory, by the system for each block

template <class T, int Bits, int RowTiles, int BatchTiles, int Stages>
void launch_ring(const LinearGptq& linear, Context& context) {
  using Shape = RingShape<Bits, RowTiles, BatchTiles, Stages>;
  const Weight& w = linear.weight;
  const auto kernel = ring_matmul<T, Bits, RowTiles, BatchTiles, Stages>;
  // A multiprocessor runs blocks of two kernels at a time only if both divide its memory alike.
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        "linear_gptq");
  Launch config;
  config.name = "linear_gptq";
  config.grid = dim3(static_cast<unsigned>((w.rows + Shape::kColumns - 1) / Shape::kColumns));
  config.block = dim3(kRingThreads);
  config.shared_bytes = static_cast<size_t>(Shape::shared_bytes(w.groups));
  config.overlap = is_captured(context);
  const CUtensorMap low_map = byte_matrix_map(w.codes, w.rows, w.row_bytes(plane_width(Bits)),
                                              Shape::kColumns, Shape::kLowRow);
  const CUtensorMap high_map =
      Bits == 3 ? byte_matrix_map(w.high, w.rows, w.row_bytes(1), Shape::kColumns, Shape::kHighRow)
                : low_map;
  // Boxes of no more rows than there are: those that reach beyond them take longer.
  const CUtensorMap x_map =
      byte_matrix_map(linear.x, linear.rows, linear.depth * 2, static_cast<int>(linear.rows));
  launch(config, context, kernel, low_map, high_map, x_map, linear, w.to_group(kBulkPiece));
}

// How many blocks of some tiles come to a multiprocessor.
int64_t crowd(const LinearGptq& linear, int tiles, const Context& context) {
  const int64_t places = context.properties.multiProcessorCount, columns = tiles * kBulkTile;
  const int64_t blocks = (linear.weight.rows + columns - 1) / columns;
  return (blocks + places - 1) / places;
}

// As many codes under way as leave room to all blocks, or to two of many.
template <class T, int Bits>
void launch_eight(const LinearGptq& linear, Context& context) {
  const auto fits = [&](int64_t bytes, int64_t blocks) {
    const auto all = static_cast<int64_t>(context.properties.sharedMemPerMultiprocessor);
    return bytes <= static_cast<int64_t>(context.properties.sharedMemPerBlockOptin) &&
           blocks * (bytes + kReservedBytes) <= all;
  };
  const int groups = linear.weight.groups;
  const int64_t blocks = crowd(linear, 2, context);
  if (linear.weight.rows <= kFewTiles * kBulkTile * context.properties.multiProcessorCount) {
    return launch_ring<T, Bits, 1, 1, 4>(linear, context);
  }
  if (blocks == 1 && fits(RingShape<Bits, 2, 1, 4>::shared_bytes(groups), 1)) {
    return launch_ring<T, Bits, 2, 1, 4>(linear, context);
  }
  if (blocks <= 2 && fits(RingShape<Bits, 2, 1, 3>::shared_bytes(groups), blocks)) {
    return launch_ring<T, Bits, 2, 1, 3>(linear, context);
  }
  launch_ring<T, Bits, 2, 1, 2>(linear, context);
}

// Blocks of one tile where there would be no more than one of two on a multiprocessor.
template <class T, int Bits>
void launch_sixteen(const LinearGptq& linear, Context& context) {
  crowd(linear, 2, context) == 1 ? launch_ring<T, Bits, 1, 2, 2>(linear, context)
                                 : launch_ring<T, Bits, 2, 2, 2>(linear, context);
}

template <class T, int Bits>
void launch_for_rows(const LinearGptq& linear, Context& context) {
  linear.rows <= 8 ? launch_eight<T, Bits>(linear, context)
                   : launch_sixteen<T, Bits>(linear, context);
}

}  // namespace

bool ring_fits(const LinearGptq& linear, const Context& context) {
  const Weight& w = linear.weight;
  // The largest of the shapes that are taken without asking.
  const int64_t bytes = RingShape<8, 2, 2, 2>::shared_bytes(w.groups);
  static_assert(RingShape<8, 2, 2, 2>::kRingBytes >= RingShape<8, 1, 1, 4>::kRingBytes);
  return context.properties.major >= 9 &&
         bytes <= static_cast<int64_t>(context.properties.sharedMemPerBlockOptin) &&
         linear.rows <= kMaxRows && bulk_copies_fit(linear);
}

void multiply_ring(const LinearGptq& linear, Context& context) {
  with_half(linear.dtype, "linear_gptq: x", [&](auto zero) {
    using T = decltype(zero);
    switch (linear.weight.bits) {
      case 2:
        return launch_for_rows<T, 2>(linear, context);
      case 3:
        return launch_for_rows<T, 3>(linear, context);
      case 4:
        return launch_for_rows<T, 4>(linear, context);
      default:
        return launch_for_rows<T, 8>(linear, context);
    }
  });
}

}  // namespace fewbit::cuda::gptq
