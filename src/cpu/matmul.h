// How a matrix product is split into tasks, and a task into what stays in the caches.
#pragma once

#include <algorithm>
#include <cstdint>

namespace fewbit::cpu {

constexpr int64_t kTaskRows = 128;  // rows of x
constexpr int64_t kTaskCols = 64;   // rows of the weight

// The tasks of an m x n product: rows .. x cols .. pieces of it. Which ones there are never
// changes a result.
class MatmulTasks {
 public:
  MatmulTasks(int64_t m, int64_t n, int threads)
      : m_(m), n_(n), row_tasks_((m + kTaskRows - 1) / kTaskRows) {
    // Many enough for the threads to end at about the same time, if the weight is large enough.
    while (cols_ > 16 && row_tasks_ * ((n + cols_ - 1) / cols_) < int64_t{8} * threads) cols_ /= 2;
  }

  int64_t count() const { return row_tasks_ * ((n_ + cols_ - 1) / cols_); }

  struct Task {
    int64_t row, rows, col, cols;
  };
  // Tasks that share rows of the weight follow each other.
  Task operator[](int64_t index) const {
    const int64_t row = index % row_tasks_ * kTaskRows, col = index / row_tasks_ * cols_;
    return {row, std::min(kTaskRows, m_ - row), col, std::min(cols_, n_ - col)};
  }

 private:
  int64_t m_, n_, row_tasks_;
  int64_t cols_ = kTaskCols;
};

// Rows of the weight to carry through all of k before the next ones: one block's for a short x, so
// that memory is read in long runs; all of a task's for a tall x, whose piece then stays in the
// cache.
inline int64_t cols_at_a_time(int64_t rows, int64_t cols) { return rows <= 8 ? 4 : cols; }

}  // namespace fewbit::cpu
