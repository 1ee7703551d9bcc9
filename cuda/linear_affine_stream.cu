// linear_affine for few rows: see affine/stream_matmul.cuh.
#include "affine/linear_affine.h"
#include "affine/stream_matmul.cuh"
#include "common/launch.h"

namespace fewbit::cuda::affine {

namespace {

// Of rows of X in shared memory, if they have more.
constexpr int64_t kPanelBytes = 40 * 1024;

template <int Bits, int GroupBlocks, int BatchTiles>
void launch_stream(const Product& p, Context& context) {
  constexpr int kRows = BatchTiles * 8, kStep = kStreamWarps * kAhead<Bits>;
  StreamPlan plan{};
  plan.staged_rows = static_cast<int>(std::min<int64_t>(p.rows, kRows));
  const auto fitting = static_cast<int>(kPanelBytes / plan.staged_rows / kChunk);
  plan.panel_chunks = p.chunks() <= fitting ? p.chunks() : std::max(fitting / kStep * kStep, kStep);
  plan.row_bytes = std::min(plan.panel_chunks, p.chunks()) * kChunk + 16;
  plan.term_stride = p.groups | 1;
  plan.to_group = static_cast<float>(kBlock) / static_cast<float>(p.group_size);
  Launch config;
  config.name = "linear_affine";
  config.grid = dim3(static_cast<unsigned>((p.columns + kStreamColumns - 1) / kStreamColumns),
                     static_cast<unsigned>((p.rows + kRows - 1) / kRows));
  config.block = dim3(kStreamThreads);
  config.shared_bytes = plan.sums_at() + sizeof(float) * kStreamWarps * kStreamColumns * kRows;
  config.overlap = true;
  launch(config, context, stream_matmul<Bits, GroupBlocks, BatchTiles>, p, plan);
}

template <int Bits, int GroupBlocks>
void choose_batch(const Product& p, Context& context) {
  if (p.rows <= 8) return launch_stream<Bits, GroupBlocks, 1>(p, context);
  launch_stream<Bits, GroupBlocks, 2>(p, context);
}

template <int Bits>
void choose_groups(const Product& p, Context& context) {
  switch (group_blocks(p)) {
    case 4:
      return choose_batch<Bits, 4>(p, context);
    case 2:
      return choose_batch<Bits, 2>(p, context);
    default:
      return choose_batch<Bits, 1>(p, context);
  }
}

}  // namespace

void multiply_streaming(const Product& p, Context& context) {
  switch (p.bits) {
    case 3:
      return choose_groups<3>(p, context);
    case 4:
      return choose_groups<4>(p, context);
    default:
      return choose_groups<8>(p, context);
  }
}

}  // namespace fewbit::cuda::affine
