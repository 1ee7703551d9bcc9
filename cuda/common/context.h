// One device, one stream, and what ops keep between calls.
#pragma once

#include <cuda_runtime.h>

#include <memory>

#include "../../src/core/error.h"
#include "recent_writes.h"
#include "tuner.h"

namespace fewbit::cuda {

class CublasLt;  // cuda/cublaslt/cublaslt.h
class Zeroed;    // zeroed.h

struct Context {
  int device = 0;
  cudaDeviceProp properties{};
  cudaStream_t stream = nullptr;
  // Null when the library was not found; ops then use fewbit's own kernels.
  std::shared_ptr<CublasLt> cublaslt;
  std::shared_ptr<Zeroed> zeroed;
  Tuner tuner;
  RecentWrites recent_writes;
};

// Throws Error("ERR_FEWBIT_CUDA" or "ERR_FEWBIT_OUT_OF_MEMORY") with CUDA's text and what was
// attempted.
void check(cudaError_t error, const char* attempted);

}  // namespace fewbit::cuda
