// gptq_quantize on CUDA: see src/ops/gptq_quantize.h. Each block of 128 columns is one launch that
// quantizes it (a row never waits for another) and one product that corrects columns to come: those
// of the same span of 512 after each block, all others after each span, which saves reading and
// writing them in between.
#include "../src/ops/gptq_quantize.h"

#include <algorithm>

#include "common/cuda_op.h"
#include "gptq_quantizer/column_block.cuh"
#include "gptq_quantizer/grid.cuh"
#include "gptq_quantizer/lazy_update.cuh"
#include "gptq_quantizer/permute.cuh"
#include "gptq_quantizer/workspace.h"

namespace fewbit::cuda {

namespace {

using namespace ops::gptq_quantize;
using namespace gptq_quantizer;

constexpr int64_t kSpan = 512;

// What a call with a factor keeps in its workspace.
struct Workspace {
  float* values;
  float* errors;  // [kSpan, error_stride]
  uint8_t* codes;
  int32_t* positions;
  int64_t error_stride;  // whole tiles of the product are read, beyond the last row
  size_t bytes;
};

Workspace lay_out(const OpCall& call) {
  const int64_t rows = call[w].rows(), cols = call[w].cols();
  Workspace work{};
  work.error_stride = (rows + kBlock - 1) / kBlock * kBlock;
  WorkspaceLayout layout(call.workspace);
  layout.place(work.values, rows * cols);
  layout.place(work.errors, kSpan * work.error_stride);
  layout.place(work.codes, rows * cols);
  layout.place(work.positions, cols);
  work.bytes = layout.bytes();
  return work;
}

struct Quantizer {
  const OpCall& call;
  Context& context;
  const GridSettings settings{static_cast<int>(call.attrs[bits]), call.attrs[sym] != 0,
                              static_cast<float>(call.attrs[mse])};
  const Grids grids{call[scales].as<float>(), call[zeros].as<uint8_t>(), call[scales].cols()};
  const bool per_row = call.attrs[group_size] == 0;
  const int64_t rows = call[w].rows(), cols = call[w].cols();
  const int64_t size =
      per_row ? cols : std::min(cols, static_cast<int64_t>(call.attrs[group_size]));
  const int kind = static_cast<int>(call.attrs[grouping]);
  // Without a factor nothing is corrected: grids made from the weights as they were are the same.
  const bool at_once = per_row || kind == kStatic || !call[factor];

  // Without a factor the order does not matter: everything happens in place.
  Weights weights() const {
    Weights result{};
    result.values = call[w].as<float>();
    result.codes = call[codes].as<uint8_t>();
    result.loss = call[loss].as<float>();
    result.rows = rows;
    result.cols = cols;
    return result;
  }

  void make_grids_at_once() const {
    // A grid per row sees dead columns as they are.
    const auto* zeroed = per_row ? nullptr : call[dead].as<const uint8_t>();
    const GridRuns runs{
        call[w].as<const float>(), rows, cols, zeroed, 0, size, grids.groups, nullptr};
    make_grids(runs, settings, grids, context);
  }

  // Of the groups whose first position lies in the block.
  void make_grids_of(const Weights& p, int64_t first) const {
    const int64_t begin = (first + size - 1) / size * size;
    const int64_t count = (std::min(first + kBlock, cols) - begin + size - 1) / size;
    const int32_t* by_column = kind == kByColumn ? p.order : nullptr;
    make_grids({p.values, rows, cols, nullptr, begin, size, count, by_column}, settings, grids,
               context);
  }

  // A group that is made inside of a span must not reach beyond it, where corrections are due.
  int64_t span() const {
    return at_once || kSpan % size == 0 || size % kSpan == 0 ? kSpan : kBlock;
  }

  // After the block that starts at first has been quantized.
  void correct(const Weights& p, const float* errors, int64_t first) const {
    const int64_t begin = first / span() * span(), end = begin + span(), next = first + kBlock;
    if (next < end) {
      const float* mine = errors + (first - begin) * p.error_stride;
      update_columns(p, {mine, first, kBlock, next, std::min(end, cols)}, context);
    } else {
      update_columns(p, {errors, begin, span(), end, cols}, context);
    }
  }

  void quantize(const Weights& p, float* errors) const {
    const Grouping groups{kind != kByPosition && !per_row, static_cast<uint32_t>(size)};
    for (int64_t first = 0; first < cols; first += kBlock) {
      if (!at_once) make_grids_of(p, first);
      float* mine = errors ? errors + first % span() * p.error_stride : nullptr;
      quantize_columns(p, groups, settings, grids, first, mine, context);
      if (errors) correct(p, errors, first);
    }
  }

  void run() const {
    if (rows == 0 || cols == 0) return;
    if (at_once) make_grids_at_once();
    Weights p = weights();
    if (!call[factor]) return quantize(p, nullptr);
    const Workspace work = lay_out(call);
    const Permutation permutation{call[order].as<const int32_t>(), work.positions,
                                  call[dead].as<const uint8_t>(), rows, cols};
    gather_positions(permutation, p.values, work.values, context);
    p.values = work.values;
    p.codes = work.codes;
    p.factor = call[factor].as<const float>();
    p.order = permutation.order;
    p.error_stride = work.error_stride;
    quantize(p, work.errors);
    return_columns(permutation, work.values, work.codes, call[w].as<float>(),
                   call[codes].as<uint8_t>(), context);
  }
};

void run(const OpCall& call, Context& context) { Quantizer{call, context}.run(); }

size_t workspace(const OpCall& call, Context&) { return call[factor] ? lay_out(call).bytes : 0; }

const CudaOp op("gptq_quantize", run, workspace);

}  // namespace

}  // namespace fewbit::cuda
