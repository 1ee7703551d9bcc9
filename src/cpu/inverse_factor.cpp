#include "inverse_factor.h"

#include <cmath>

namespace fewbit::cpu {

namespace {

// Rows that are worth handing to another thread.
constexpr int64_t kGrain = 32;

double dot(const double* a, const double* b, int64_t n) {
  double sums[4] = {};
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (int j = 0; j < 4; ++j) sums[j] += a[i + j] * b[i + j];
  }
  for (; i < n; ++i) sums[0] += a[i] * b[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// a = R R^T with R upper triangular, in place, from the last column to the first.
bool reverse_cholesky(double* a, int64_t n, ThreadPool& pool) {
  for (int64_t j = n - 1; j >= 0; --j) {
    double* row = a + j * n;
    const int64_t rest = n - 1 - j;
    const double square = row[j] - dot(row + j + 1, row + j + 1, rest);
    if (!(square > 0) || !std::isfinite(square)) return false;
    row[j] = std::sqrt(square);
    pool.parallel_for(j, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        double* other = a + i * n;
        other[j] = (other[j] - dot(other + j + 1, row + j + 1, rest)) / row[j];
      }
    });
  }
  return true;
}

}  // namespace

// With a = R R^T, a^-1 = R^-T R^-1, so that U = R^-1: one factorization and one inverse of a
// triangle instead of Cholesky, inverse, Cholesky.
bool inverse_factor(double* a, int64_t n, double* inverse, ThreadPool& pool) {
  if (!reverse_cholesky(a, n, pool)) return false;
  pool.parallel_for(n, 1, [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
      double* column = inverse + j * n;  // of U
      column[j] = 1 / a[j * n + j];
      for (int64_t i = j - 1; i >= 0; --i) {
        column[i] = -dot(a + i * n + i + 1, column + i + 1, j - i) / a[i * n + i];
      }
    }
  });
  return true;
}

}  // namespace fewbit::cpu
