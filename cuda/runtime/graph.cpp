#include "guard.h"
#include "runtime.h"

namespace fewbit::cuda {

int capture_begin(void* context, Status* status) {
  return guard(status, [&] {
    Context& entered = enter(context);
    // Thread-local: what other threads allocate or load meanwhile does not spoil this capture.
    check(cudaStreamBeginCapture(entered.stream, cudaStreamCaptureModeThreadLocal),
          "beginning a CUDA graph capture");
  });
}

int capture_end(void* context, void** graph, Status* status) {
  return guard(status, [&] {
    Context& entered = enter(context);
    *graph = nullptr;
    cudaGraph_t captured = nullptr;
    check(cudaStreamEndCapture(entered.stream, &captured), "ending a CUDA graph capture");
    cudaGraphExec_t executable = nullptr;
    const cudaError_t error = cudaGraphInstantiate(&executable, captured, 0);
    cudaGraphDestroy(captured);
    check(error, "instantiating a CUDA graph");
    *graph = executable;
    check(cudaGraphUpload(executable, entered.stream), "uploading a CUDA graph");
  });
}

int graph_launch(void* context, void* graph, Status* status) {
  return guard(status, [&] {
    Context& entered = enter(context);
    check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), entered.stream),
          "launching a CUDA graph");
  });
}

void graph_destroy(void* context, void* graph) {
  release_guard(context,
                [&](Context&) { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)); });
}

}  // namespace fewbit::cuda
