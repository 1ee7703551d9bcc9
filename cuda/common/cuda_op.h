// How a .cu file offers its op to the table.
#pragma once

#include <cuda_runtime.h>

#include <vector>

#include "../../src/core/abi.h"

namespace fewbit::cuda {

struct Context;

struct CudaOp {
  using Run = void (*)(const OpCall& call, Context& context);
  using Workspace = size_t (*)(const OpCall& call, Context& context);

  // Place one at namespace scope in the op's file:
  //   static const CudaOp op("add", run);
  //   static const CudaOp op("linear", run, workspace, prepare);
  CudaOp(const char* name, Run run, Workspace workspace = nullptr, Run prepare = nullptr)
      : name(name), run(run), workspace(workspace), prepare(prepare) {
    all().push_back(this);
  }

  static std::vector<const CudaOp*>& all() {
    static std::vector<const CudaOp*> list;
    return list;
  }

  const char* name;
  Run run;
  Workspace workspace;
  Run prepare;
};

}  // namespace fewbit::cuda
