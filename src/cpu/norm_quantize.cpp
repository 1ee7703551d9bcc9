#include "../ops/norm_quantize.h"

#include "checks.h"
#include "cpu_op.h"
#include "grid_rows.h"
#include "norm_rows.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::norm_quantize;

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {x});
  require_float(spec, call, {weight, bias});
  const int64_t cols = call[x].cols();
  if (cols == 0) return;
  const int64_t count = call[order] ? call[order].elements() : cols;
  for (int64_t j = 0; call[order] && j < count; ++j) {
    require_range(spec, order, j, call[order].as<int32_t>()[j], 0, cols);
  }
  const NormRows norm(call[x], call[residual], call[weight], call[bias], call.attrs[eps],
                      call.attrs[centered] != 0, call.workspace);
  const GridRows rows(call[order], call[grid], call[out], count,
                      static_cast<int>(call.attrs[bits]));
  pool.parallel_for(call[x].rows(), row_grain(cols), [&](int64_t begin, int64_t end) {
    std::vector<float> values(cols);
    GridRows::Scratch scratch(rows);
    for (int64_t row = begin; row < end; ++row) {
      norm.run(row, values.data());
      rows.write(values.data(), row, scratch);
    }
  });
}

size_t workspace(const OpCall& call) { return NormRows::workspace_bytes(call[x]); }

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
