// gptq_factor on CUDA: see src/ops/gptq_factor.h. Computed in double precision, as on the CPU.
//
// With the columns in reverse order, the lower Cholesky factor of the matrix is that of a = R R^T
// with R upper triangular. a^-1 = R^-T R^-1, so that U = R^-1: one factorization and the inverse of
// a triangle instead of Cholesky, inverse, Cholesky.
#include "../src/ops/gptq_factor.h"

#include <algorithm>

#include "common/cuda_op.h"
#include "gptq_quantizer/column_order.cuh"
#include "gptq_quantizer/inverse_factor.cuh"
#include "gptq_quantizer/workspace.h"

namespace fewbit::cuda {

namespace {

using namespace ops::gptq_factor;
using namespace gptq_quantizer;

constexpr int kSide = 32;  // of what a block copies, one column a lane
constexpr int kRows = 8;   // rows that it copies at a time

// The lower triangle, in reverse order and damped. Padding up to whole tiles has a diagonal of 1.
__global__ __launch_bounds__(kSide* kRows) void load_matrix(const TiledMatrix matrix,
                                                            const Columns columns,
                                                            double fraction) {
  if (blockIdx.x > blockIdx.y) return;
  const int64_t last = columns.count - 1;
  const int64_t col = int64_t{blockIdx.x} * kSide + threadIdx.x;
  for (int i = threadIdx.y; i < kSide; i += kRows) {
    const int64_t row = int64_t{blockIdx.y} * kSide + i;
    double value = row == col ? 1.0 : 0.0;
    if (row <= last && col <= last) {
      const int64_t from = columns.order[last - row], to = columns.order[last - col];
      const float element = columns.h[from * columns.count + to];
      if (row != col || element != 0) value = element;
      if (row == col) value += fraction * *columns.mean;
    }
    matrix.data[row * matrix.stride() + col] = value;
  }
}

// Into the order that was asked for, or the identity.
__global__ __launch_bounds__(kSide* kRows) void store_factor(const TiledMatrix matrix,
                                                             int64_t count, bool found,
                                                             float* out) {
  const int64_t col = int64_t{blockIdx.x} * kSide + threadIdx.x;
  if (col >= count) return;
  for (int i = threadIdx.y; i < kSide; i += kRows) {
    const int64_t row = int64_t{blockIdx.y} * kSide + i;
    if (row >= count) return;
    double value = row == col ? 1.0 : 0.0;
    if (found && row <= col) {
      value = matrix.data[(count - 1 - row) * matrix.stride() + count - 1 - col];
    }
    out[row * count + col] = static_cast<float>(value);
  }
}

// What a call keeps in its workspace.
struct Workspace {
  TiledMatrix matrix;
  Columns columns;
  int* failed;
  size_t bytes;
};

Workspace lay_out(const OpCall& call) {
  Workspace work{};
  const int64_t k = call[h].cols();
  WorkspaceLayout layout(call.workspace);
  work.matrix.tiles = (k + kTile - 1) / kTile;
  layout.place(work.matrix.data, work.matrix.stride() * work.matrix.stride());
  Columns& columns = work.columns;
  columns.h = call[h].as<const float>();
  columns.count = k;
  const bool grouped = static_cast<int>(call.attrs[ordering]) == kWithinGroups;
  columns.group_size = grouped ? static_cast<int64_t>(call.attrs[group_size]) : k;
  columns.dead = call[dead].as<uint8_t>();
  columns.order = call[order].as<int32_t>();
  layout.place(columns.weight, k);
  layout.place(columns.heaviest, k);
  layout.place(columns.mean, 1);
  layout.place(work.failed, 1);
  work.bytes = layout.bytes();
  return work;
}

size_t workspace(const OpCall& call, Context&) { return lay_out(call).bytes; }

// Waits for the GPU: whether more damping is needed decides what is launched next.
bool factor_damped(const Workspace& work, double fraction, Context& context) {
  const auto sides = static_cast<unsigned>(work.matrix.stride() / kSide);
  check(cudaMemsetAsync(work.failed, 0, sizeof(int), context.stream), "gptq_factor");
  launch({.name = "gptq_factor: loading", .grid = dim3(sides, sides), .block = dim3(kSide, kRows)},
         context, load_matrix, work.matrix, work.columns, fraction);
  factor_lower(work.matrix, work.failed, context);
  int failed = 0;
  check(cudaMemcpyAsync(&failed, work.failed, sizeof(int), cudaMemcpyDeviceToHost, context.stream),
        "gptq_factor");
  check(cudaStreamSynchronize(context.stream), "gptq_factor");
  return failed == 0;
}

void run(const OpCall& call, Context& context) {
  const Workspace work = lay_out(call);
  const int64_t k = work.columns.count;
  if (k == 0) return;
  order_columns(work.columns, static_cast<int>(call.attrs[ordering]) != kAsIs, context);
  const double first = call.attrs[damp];
  bool found = false;
  double fraction = first;
  for (; fraction < 1; fraction += std::max(first, 0.01)) {
    found = factor_damped(work, fraction, context);
    if (found) break;
  }
  const float result = found ? static_cast<float>(fraction) : -1.0f;
  check(cudaMemcpyAsync(call[used].data, &result, sizeof(result), cudaMemcpyHostToDevice,
                        context.stream),
        "gptq_factor");
  if (found) invert_lower(work.matrix, context);
  const auto sides = static_cast<unsigned>((k + kSide - 1) / kSide);
  launch({.name = "gptq_factor: storing", .grid = dim3(sides, sides), .block = dim3(kSide, kRows)},
         context, store_factor, work.matrix, k, found, call[factor].as<float>());
}

const CudaOp op("gptq_factor", run, workspace);

}  // namespace

}  // namespace fewbit::cuda
