// Writing rows in another order and as codes on static grids.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../core/abi.h"
#include "affine_codes.h"
#include "kernels.h"

namespace fewbit::cpu {

class GridRows {
 public:
  // What a thread needs to write rows.
  struct Scratch {
    explicit Scratch(const GridRows& rows) : gathered(rows.count_), codes(rows.count_) {}
    std::vector<float> gathered;
    std::vector<int8_t> codes;
  };

  // count: columns of `out`, whose codes have `bits`; 16 bits are floats and have no grid.
  GridRows(const TensorView& order, const TensorView& grid, const TensorView& out, int64_t count,
           int bits)
      : order_(order.as<int32_t>()),
        scales_(grid.as<float>()),
        out_(out),
        count_(count),
        bits_(bits),
        ordered_(static_cast<bool>(order)) {}

  void write(const float* values, int64_t row, Scratch& scratch) const {
    char* to = out_.as<char>() + row * out_.cols() * static_cast<int64_t>(size_of(out_.dtype));
    float* gathered = bits_ == 16 ? reinterpret_cast<float*>(to) : scratch.gathered.data();
    if (ordered_) {
      for (int64_t j = 0; j < count_; ++j) gathered[j] = values[order_[j]];
      values = gathered;
    } else if (bits_ == 16) {
      std::copy_n(values, count_, gathered);
    }
    if (bits_ == 16) return;
    int8_t* codes = bits_ == 8 ? reinterpret_cast<int8_t*>(to) : scratch.codes.data();
    kernel_.quantize_grid(values, count_, scales_, scales_ + count_, bits_, codes);
    if (bits_ == 4) pack_nibbles(codes, count_, reinterpret_cast<uint8_t*>(to));
  }

 private:
  const int32_t* order_;
  const float* scales_;
  const TensorView& out_;
  int64_t count_;
  int bits_;
  bool ordered_;
  const Kernels& kernel_ = kernels();
};

}  // namespace fewbit::cpu
