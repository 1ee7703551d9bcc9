#include "../ops/rms_norm.h"

#include "checks.h"
#include "cpu_op.h"
#include "norm_rows.h"

namespace fewbit::cpu {

namespace {

using namespace ops::rms_norm;

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {x});
  require_float(spec, call, {weight});
  if (call[x].cols() == 0) return;
  const NormRows norm(call[x], call[residual], call[weight], TensorView{}, call.attrs[eps], false,
                      call.workspace);
  norm.run_all(call[out].as<float>(), pool);
}

size_t workspace(const OpCall& call) { return NormRows::workspace_bytes(call[x]); }

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
