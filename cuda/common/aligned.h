// What wide loads and bulk copies need of addresses.
#pragma once

#include <cstdint>
#include <string>

#include "../../src/core/abi.h"
#include "../../src/core/error.h"

namespace fewbit::cuda {

// Throws Error("ERR_FEWBIT_SHAPE") unless a tensor starts at a multiple of so many bytes; its rows have
// it by their padding.
inline void require_aligned(const char* op, const char* name, const TensorView& view,
                            int bytes = 16) {
  if (reinterpret_cast<uintptr_t>(view.data) % bytes == 0) return;
  throw Error("ERR_FEWBIT_SHAPE", std::string(op) + ": " + name + " must start at a multiple of " +
                                      std::to_string(bytes) +
                                      " bytes: pass the whole tensor, not a slice of it");
}

}  // namespace fewbit::cuda
