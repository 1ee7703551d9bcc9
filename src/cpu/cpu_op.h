// How a CPU file offers its op. Every op has one, so these make up the list of all ops.
#pragma once

#include <string>
#include <vector>

#include "../core/op_spec.h"
#include "../core/thread_pool.h"

namespace fewbit {

struct CpuOp {
  using Run = void (*)(const OpCall& call, ThreadPool& pool);
  using Workspace = size_t (*)(const OpCall& call);

  // Place one at namespace scope in the op's file:  static const CpuOp op(ops::add::spec, run);
  CpuOp(const OpSpec& spec, Run run, Workspace workspace = nullptr)
      : spec(spec), run(run), workspace(workspace) {
    all().push_back(this);
  }

  static std::vector<const CpuOp*>& all() {
    static std::vector<const CpuOp*> list;
    return list;
  }

  const OpSpec& spec;
  Run run;
  Workspace workspace;
};

}  // namespace fewbit
