// linear_int8 for few rows: weights straight from memory into the tensor cores.
#include "common/launch.h"
#include "common/stream_matmul.cuh"
#include "int8/linear_int8.h"
#include "int8/stream_epilogue.cuh"

namespace fewbit::cuda::int8 {

namespace {

template <int RowTiles, int BatchTiles, int Stage>
void launch_stream(const Product& product, Context& context) {
  using Epilogue = StreamEpilogue<RowTiles, BatchTiles>;
  using Shape = StreamShape<int8_t, RowTiles, BatchTiles, Epilogue>;
  const StreamOperands<int8_t> operands{product.weight, product.codes, product.weight_rows,
                                        product.rows, product.depth};
  Launch config;
  config.name = "linear_int8";
  config.grid =
      dim3(static_cast<unsigned>((product.weight_rows + Shape::kColumns - 1) / Shape::kColumns),
           static_cast<unsigned>((product.rows + Shape::kRows - 1) / Shape::kRows));
  config.block = dim3(Shape::kThreads);
  config.shared_bytes = sizeof(typename Shape::Shared);
  config.overlap = true;
  launch(config, context, stream_matmul<int8_t, RowTiles, BatchTiles, Stage, true, Epilogue>,
         operands, Epilogue{product});
}

}  // namespace

void multiply_streaming(const Product& product, Context& context) {
  // Two row tiles halve how often X is read; with one, narrow matrices still give every
  // multiprocessor two blocks.
  const bool wide = product.columns >= 64 * int64_t{context.properties.multiProcessorCount};
  if (product.rows <= 8) {
    launch_stream<1, 1, 4>(product, context);
  } else if (product.rows <= 16) {
    wide ? launch_stream<2, 2, 2>(product, context) : launch_stream<1, 2, 4>(product, context);
  } else {
    launch_stream<2, 8, 2>(product, context);
  }
}

}  // namespace fewbit::cuda::int8
