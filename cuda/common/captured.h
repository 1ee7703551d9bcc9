// Whether kernels are launched or recorded.
#pragma once

#include "context.h"

namespace fewbit::cuda {

// Whether launches go into a graph. A program is captured when the model has been loaded, so that a
// kernel of a graph may read weights before it waits for the kernels before it.
inline bool is_captured(const Context& context) {
  cudaStreamCaptureStatus status{};
  check(cudaStreamIsCapturing(context.stream, &status), "asking whether a stream is captured");
  return status == cudaStreamCaptureStatusActive;
}

}  // namespace fewbit::cuda
