// linear_int8 for few rows: weights straight from memory into the tensor cores.
#include "common/stream_matmul.cuh"
#include "int8/linear_int8.h"
#include "int8/stream_epilogue.cuh"

namespace fewbit::cuda::int8 {

namespace {

template <int RowTiles, int BatchTiles, int Stage>
void launch_tiles(const Product& product, Context& context) {
  const StreamOperands<int8_t> operands{product.weight, product.codes, product.weight_rows,
                                        product.rows, product.depth};
  launch_stream<RowTiles, BatchTiles, Stage, true>(
      "linear_int8", operands, StreamEpilogue<RowTiles, BatchTiles>{product}, context);
}

}  // namespace

void multiply_streaming(const Product& product, Context& context) {
  // Two row tiles halve how often X is read; with one, narrow matrices still give every
  // multiprocessor two blocks.
  const bool wide = product.columns >= 64 * int64_t{context.properties.multiProcessorCount};
  if (product.rows <= 8) {
    launch_tiles<1, 1, 4>(product, context);
  } else if (product.rows <= 16) {
    wide ? launch_tiles<2, 2, 2>(product, context) : launch_tiles<1, 2, 4>(product, context);
  } else {
    launch_tiles<2, 8, 2>(product, context);
  }
}

}  // namespace fewbit::cuda::int8
