// linear_gptq of up to 4 bits for 2 to 16 rows on sm_90: the layout of bulk_rows_matmul, and its launch.
#include <algorithm>

#include "common/launch.h"
#include "common/tensor_map.h"
#include "common/zeroed.h"
#include "gptq/bulk_rows_matmul.cuh"
#include "gptq/linear_gptq.h"

namespace fewbit::cuda::gptq {

namespace {

constexpr int64_t kSharedBytes = 227 * 1024;

int64_t divide_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit; }

int rows_computed(const LinearGptq& linear) { return linear.rows <= 8 ? 8 : 16; }

// Slices of K, and how many pieces of each: whole boxes of each plane.
struct Slices {
  int count, pieces;
};

Slices slices_of(const Weight& w) {
  constexpr int64_t kBoxBits = 128 * 8;
  const int64_t pieces = divide_up(w.positions, kBulkPiece);
  const int64_t count = divide_up(pieces, kRowsWarps * kWarpPieces);
  const int64_t box = kBoxBits / (w.bits == 3 ? 1 : w.bits) / kBulkPiece;
  return {static_cast<int>(count),
          static_cast<int>(divide_up(divide_up(pieces, count), box) * box)};
}

int shares_of(const LinearGptq& linear, int slices, const Context& context) {
  const int64_t most = std::max(context.properties.multiProcessorCount / slices, 1);
  return static_cast<int>(std::min<int64_t>(most, linear.weight.rows / kBulkTile));
}

// Whether blocks have tiles enough to make up for x, which they load first, and slices use most warps.
// From here on other kernels were slower on an H200; those of 3 bits earlier, as long as blocks need not
// add up slices.
bool is_enough(const Weight& w, const Context& context) {
  const Slices slices = slices_of(w);
  const int64_t pieces = divide_up(w.positions, kBulkPiece);
  const int64_t least = w.bits == 3 && slices.count == 1 ? 5 : 9;
  return pieces * 4 >= int64_t{slices.count} * kRowsWarps * kWarpPieces * 3 &&
         w.rows / kBulkTile * slices.count >= least * context.properties.multiProcessorCount;
}

template <class T, int Bits, int Rows>
void launch_rows(const LinearGptq& linear, void* partial, Context& context) {
  using Slice = BulkSlice<Bits, kRowsWarps>;
  const Weight& w = linear.weight;
  const Slices slices = slices_of(w);
  const int shares = shares_of(linear, slices.count, context);
  const auto boxes = [&](int width) { return slices.pieces * (kBulkPiece * width / 8) / 128; };
  constexpr int64_t kOther = 1024 + sizeof(RowsShared<Rows>);
  RowsPlan plan{};
  plan.stages = static_cast<int>(
      std::min<int64_t>({(kSharedBytes - kOther) / Slice::kStageBytes,
                         divide_up(w.rows / kBulkTile, shares), int64_t{kMaxStages}}));
  plan.pieces = static_cast<int>(divide_up(w.positions, kBulkPiece));
  plan.slices = slices.count;
  plan.slice_pieces = slices.pieces;
  plan.low_boxes = boxes(plane_width(Bits));
  plan.high_boxes = Bits == 3 ? boxes(1) : 0;
  plan.to_group =
      w.groups <= 1 ? 0.0f : static_cast<float>(kBulkPiece) / static_cast<float>(w.group_size);
  plan.partial = static_cast<float*>(partial);
  plan.arrived = slices.count > 1 ? context.zeroed->words() : nullptr;
  Launch config;
  config.name = "linear_gptq";
  config.grid = dim3(static_cast<unsigned>(shares * slices.count));
  config.block = dim3(kRowsThreads);
  config.shared_bytes = static_cast<size_t>(kOther + plan.stages * Slice::kStageBytes);
  config.overlap = is_captured(context);
  const CUtensorMap low_map =
      byte_matrix_map(w.codes, w.rows, w.row_bytes(plane_width(Bits)), kBulkTile);
  const CUtensorMap high_map =
      Bits == 3 ? byte_matrix_map(w.high, w.rows, w.row_bytes(1), kBulkTile) : low_map;
  launch(config, context, bulk_rows_matmul<T, Bits, Rows>, low_map, high_map, linear, plan);
}

template <class T, int Bits>
void launch_for_rows(const LinearGptq& linear, void* partial, Context& context) {
  rows_computed(linear) == 8 ? launch_rows<T, Bits, 8>(linear, partial, context)
                             : launch_rows<T, Bits, 16>(linear, partial, context);
}

}  // namespace

bool bulk_rows_fit(const LinearGptq& linear, const Context& context) {
  const Weight& w = linear.weight;
  // Of GPUs of compute capability 9.0 and later, those for desktops have less than half of that memory.
  return context.properties.major >= 9 &&
         context.properties.sharedMemPerBlockOptin >= kSharedBytes && w.bits <= 4 &&
         linear.rows <= 16 && linear.depth % 8 == 0 && bulk_copies_fit(w) && is_enough(w, context);
}

size_t bulk_rows_workspace(const LinearGptq& linear) {
  const int slices = slices_of(linear.weight).count;
  return slices == 1 ? 0
                     : static_cast<size_t>(slices * linear.weight.rows * rows_computed(linear)) *
                           sizeof(float);
}

void multiply_bulk_rows(const LinearGptq& linear, void* partial, Context& context) {
  with_half(linear.dtype, "linear_gptq: x", [&](auto zero) {
    using T = decltype(zero);
    switch (linear.weight.bits) {
      case 2:
        return launch_for_rows<T, 2>(linear, partial, context);
      case 3:
        return launch_for_rows<T, 3>(linear, partial, context);
      default:
        return launch_for_rows<T, 4>(linear, partial, context);
    }
  });
}

}  // namespace fewbit::cuda::gptq
