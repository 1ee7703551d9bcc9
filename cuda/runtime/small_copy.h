// A few bytes to the host without the copy engine.
#pragma once

#include "../common/context.h"

namespace fewbit::cuda {

// Copies to pinned memory by a kernel, which begins sooner after the kernels before it than the copy
// engine, and holds up those after it for less long. Returns false, having done nothing, when that does
// not suit: there are many bytes, or the memory is not pinned.
bool copy_small(void* host, const void* device, size_t bytes, Context& context);

}  // namespace fewbit::cuda
