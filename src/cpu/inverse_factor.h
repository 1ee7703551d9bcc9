// The factor of an inverse that GPTQ works with.
#pragma once

#include <cstdint>

#include "../core/thread_pool.h"

namespace fewbit::cpu {

// a double[n, n] is symmetric. Where it is positive definite, sets inverse[j, i] = U[i, j] for
// i <= j, with U upper triangular, of positive diagonal and a^-1 = U^T U, and returns true. The
// upper half of a is overwritten; the rest of inverse is left as it was.
bool inverse_factor(double* a, int64_t n, double* inverse, ThreadPool& pool);

}  // namespace fewbit::cpu
