// linear_bitnet on any device: see bitnet/stream_matmul.cuh.
#include "bitnet/linear_bitnet.h"
#include "bitnet/stream_matmul.cuh"
#include "common/launch.h"

namespace fewbit::cuda::bitnet {

namespace {

template <int RowTiles, int BatchTiles>
void launch_stream(const Product& p, Context& context) {
  Launch config;
  config.name = "linear_bitnet";
  config.grid = dim3(static_cast<unsigned>((p.columns + RowTiles * 16 - 1) / (RowTiles * 16)),
                     static_cast<unsigned>((p.rows + BatchTiles * 8 - 1) / (BatchTiles * 8)));
  config.block = dim3(kStreamThreads);
  config.overlap = true;
  launch(config, context, stream_matmul<RowTiles, BatchTiles>, p);
}

}  // namespace

void multiply_streaming(const Product& p, Context& context) {
  if (p.rows <= 8) {
    launch_stream<1, 1>(p, context);
  } else if (p.rows <= 16) {
    launch_stream<1, 2>(p, context);
  } else {
    launch_stream<2, 4>(p, context);
  }
}

}  // namespace fewbit::cuda::bitnet
