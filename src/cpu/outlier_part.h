// The 16-bit part of LLM.int8(): what the outlier columns add to a tile of the output.
#pragma once

#include "../core/abi.h"
#include "kernels.h"

namespace fewbit::cpu {

class OutlierPart {
 public:
  // Of a call of linear_int8. half_precision rounds x and the weights to fp16, as bitsandbytes
  // does, and leaves the kept columns unused.
  OutlierPart(const OpCall& call, bool half_precision);

  // Nothing to add.
  bool empty() const { return count_ == 0; }

  // y[r, j] += sum_o x[row + r, o] * w16[col + j, o] for r < rows, j < cols, cols <= kTaskCols,
  // over the outlier columns in their order.
  void add(int64_t row, int64_t rows, int64_t col, int64_t cols, float* y, int64_t y_stride) const;

 private:
  void read_weights(int64_t column, int64_t col, int64_t cols, float* to) const;

  const OpCall& call_;
  const Kernels& kernel_;
  const bool half_precision_;
  int64_t count_ = 0;
};

}  // namespace fewbit::cpu
