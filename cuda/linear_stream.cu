// The 16-bit linear for few rows: weights straight from memory into the tensor cores.
#include "common/activation.cuh"
#include "common/launch.h"
#include "common/stream_matmul.cuh"
#include "linear/linear.h"

namespace fewbit::cuda {

namespace {

// The sums get their bias and activation on the way out; nothing is staged.
struct LinearEpilogue {
  static constexpr int kWarps = 0;
  struct Shared {};

  const void* bias;
  DType bias_dtype;
  void* out;
  DType out_dtype;
  int64_t columns;
  Activation activation;

  __device__ __forceinline__ void stage(Shared&, int64_t, int64_t, int) const {}

  __device__ __forceinline__ void store(const Shared&, int64_t column, int64_t row, int, int,
                                        float sum) const {
    if (column >= columns) return;
    if (bias) sum += load_float(bias, bias_dtype, column);
    store_float(out, out_dtype, row * columns + column, activate(sum, activation));
  }
};

template <class T, int RowTiles, int BatchTiles, int Stage, bool Aligned>
void launch_stream(const Linear& linear, Context& context) {
  using Shape = StreamShape<T, RowTiles, BatchTiles, LinearEpilogue>;
  const StreamOperands<T> operands{static_cast<const T*>(linear.weight),
                                   static_cast<const T*>(linear.x), linear.columns, linear.rows,
                                   linear.depth};
  const LinearEpilogue epilogue{linear.bias,
                                linear.bias_dtype,
                                linear.out,
                                linear.out_dtype,
                                linear.columns,
                                static_cast<Activation>(linear.activation)};
  Launch config;
  config.name = "linear";
  config.grid = dim3(static_cast<unsigned>((linear.columns + Shape::kColumns - 1) / Shape::kColumns),
                     static_cast<unsigned>((linear.rows + Shape::kRows - 1) / Shape::kRows));
  config.block = dim3(Shape::kThreads);
  config.shared_bytes = sizeof(typename Shape::Shared);
  config.overlap = true;
  launch(config, context, stream_matmul<T, RowTiles, BatchTiles, Stage, Aligned, LinearEpilogue>,
         operands, epilogue);
}

template <class T>
void stream(const Linear& linear, Context& context) {
  const bool aligned = vector_aligned(linear.x, linear.depth, sizeof(T)) &&
                       vector_aligned(linear.weight, linear.depth, sizeof(T));
  if (!aligned) {
    launch_stream<T, 1, 2, 1, false>(linear, context);
  } else if (linear.rows <= 8) {
    launch_stream<T, 1, 1, 4, true>(linear, context);
  } else if (linear.rows <= 16) {
    launch_stream<T, 2, 2, 2, true>(linear, context);
  } else {
    launch_stream<T, 2, 8, 1, true>(linear, context);
  }
}

}  // namespace

void linear_streaming(const Linear& linear, Context& context) {
  with_half(linear.dtype, "linear: x", [&](auto zero) { stream<decltype(zero)>(linear, context); });
}

}  // namespace fewbit::cuda
