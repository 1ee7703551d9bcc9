#include "../ops/add.h"

#include "checks.h"
#include "cpu_op.h"
#include "kernels.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::add;

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {a});
  const Kernels& kernel = kernels();
  pool.parallel_for(call[out].elements(), kGrainElements, [&](int64_t begin, int64_t end) {
    kernel.add(call[a].as<float>() + begin, call[b].as<float>() + begin, end - begin,
               call[out].as<float>() + begin);
  });
}

const CpuOp op(spec, run);

}  // namespace

}  // namespace fewbit::cpu
