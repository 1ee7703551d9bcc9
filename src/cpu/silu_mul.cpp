#include "../ops/silu_mul.h"

#include "checks.h"
#include "cpu_op.h"
#include "gated.h"

namespace fewbit::cpu {

namespace {

using namespace ops::silu_mul;

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {gate});
  multiply_gated(call[gate], call[up], call[out], kernels().silu_mul, pool);
}

const CpuOp op(spec, run);

}  // namespace

}  // namespace fewbit::cpu
