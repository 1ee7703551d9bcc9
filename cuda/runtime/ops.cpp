#include <cstring>

#include "../common/cuda_op.h"
#include "guard.h"
#include "runtime.h"

namespace fewbit::cuda {

namespace {

const CudaOp& at(int op) {
  if (op < 0 || op >= static_cast<int>(CudaOp::all().size())) {
    throw Error("ERR_FEWBIT_CUDA", "op " + std::to_string(op) + " is not in this library's table");
  }
  return *CudaOp::all()[static_cast<size_t>(op)];
}

}  // namespace

int op_index(const char* name) {
  const auto& ops = CudaOp::all();
  for (size_t i = 0; i < ops.size(); ++i) {
    if (std::strcmp(ops[i]->name, name) == 0) return static_cast<int>(i);
  }
  return -1;
}

int op_workspace(void* context, int op, const OpCall* call, size_t* bytes, Status* status) {
  return guard(status, [&] {
    const CudaOp& found = at(op);
    *bytes = found.workspace ? found.workspace(*call, enter(context)) : 0;
  });
}

int op_prepare(void* context, int op, const OpCall* call, Status* status) {
  return guard(status, [&] {
    const CudaOp& found = at(op);
    if (found.prepare) found.prepare(*call, enter(context));
  });
}

int op_run(void* context, int op, const OpCall* call, Status* status) {
  return guard(status, [&] { at(op).run(*call, enter(context)); });
}

}  // namespace fewbit::cuda
