// Turns exceptions into a Status at the edge of the library.
#pragma once

#include <cstdio>
#include <exception>
#include <new>

#include "../../src/core/error.h"
#include "../../src/cuda/cuda_table.h"
#include "../common/context.h"

namespace fewbit::cuda {

inline void fill(Status* status, const char* code, const char* message) {
  if (!status) return;
  std::snprintf(status->code, sizeof(status->code), "%s", code);
  std::snprintf(status->message, sizeof(status->message), "%s", message);
}

// 0, or 1 with *status filled when body throws.
template <class Body>
int guard(Status* status, Body&& body) noexcept {
  try {
    body();
    return 0;
  } catch (const Error& error) {
    fill(status, error.code().c_str(), error.what());
  } catch (const std::bad_alloc&) {
    fill(status, "ERR_FEWBIT_OUT_OF_MEMORY", "host memory is exhausted");
  } catch (const std::exception& error) {
    fill(status, "ERR_FEWBIT_CUDA", error.what());
  } catch (...) {
    fill(status, "ERR_FEWBIT_CUDA", "unknown error");
  }
  return 1;
}

// Selects the context's device for the calling thread, which may be any thread.
inline Context& enter(void* context) {
  Context& entered = *static_cast<Context*>(context);
  check(cudaSetDevice(entered.device), "selecting the GPU");
  return entered;
}

// For functions that release and cannot report: runs body unless the device is gone.
template <class Body>
void release_guard(void* context, Body&& body) noexcept {
  if (!context || cudaSetDevice(static_cast<Context*>(context)->device) != cudaSuccess) return;
  body(*static_cast<Context*>(context));
  (void)cudaGetLastError();
}

}  // namespace fewbit::cuda
