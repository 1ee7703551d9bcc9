// The two ways to compute linear_affine on the CPU: by pieces that are unpacked for the product of
// int8 codes, which any processor can; and by chunks that are unpacked in registers.
#pragma once

#include <algorithm>

#include "../ops/linear_affine.h"
#include "affine_chunks.h"
#include "affine_codes.h"
#include "kernels.h"
#include "matmul.h"

namespace fewbit::cpu {

// What both need of a call.
struct AffineCall {
  const OpCall& call;
  const int8_t* input;  // i8[M, K]
  const float* scale;   // f32[N, G]
  const float* shift;   // the bias, or null
  const Kernels& kernel = kernels();
  const int64_t m = call[ops::linear_affine::out].rows();
  const int64_t k = ops::linear_affine::columns(call);
  const int bits = static_cast<int>(call.attrs[ops::linear_affine::bits]);
  const int64_t groups = call[ops::linear_affine::scales].cols();
  const int64_t size = static_cast<int64_t>(call.attrs[ops::linear_affine::group_size]);

  float* out_at(const MatmulTasks::Task& task, int64_t r) const {
    const TensorView& out = call[ops::linear_affine::out];
    return out.as<float>() + (task.row + r) * out.row_stride() + task.col;
  }

  AffineRow weight(int64_t row) const {
    using namespace ops::linear_affine;
    const auto plane = [&](const TensorView& view) {
      return view ? view.as<uint8_t>() + row * view.cols() : nullptr;
    };
    return {plane(call[codes]), plane(call[high]), scale + row * groups, plane(call[zeros])};
  }

  void finish(const MatmulTasks::Task& task) const {
    const bool relu = call.attrs[ops::linear_affine::activation] != 0;
    for (int64_t r = 0; r < task.rows; ++r) {
      float* y = out_at(task, r);
      for (int64_t j = 0; shift && j < task.cols; ++j) y[j] += shift[task.col + j];
      for (int64_t j = 0; relu && j < task.cols; ++j) y[j] = y[j] < 0 ? 0.0f : y[j];  // keeps a NaN
    }
  }
};

class AffinePieces {
 public:
  // Positions that are unpacked and multiplied at a time.
  static constexpr int64_t kPiece = 256;

  // x_sums: of the codes of each row, for each piece.
  AffinePieces(const AffineCall& call, const int32_t* x_sums) : call_(call), x_sums_(x_sums) {}

  // Calls body(begin, count) for pieces of k positions, which end where groups do.
  template <class Body>
  static void for_pieces(int64_t k, int64_t group_size, const Body& body) {
    for (int64_t p = 0, count; p < k; p += count) {
      count = std::min({kPiece, k - p, group_size - p % group_size});
      body(p, count);
    }
  }

  static int64_t count(int64_t k, int64_t group_size) {
    int64_t count = 0;
    for_pieces(k, group_size, [&](int64_t, int64_t) { ++count; });
    return count;
  }

  void run(const MatmulTasks::Task& task) const {
    alignas(64) int8_t weights[kTaskCols * kPiece];
    int32_t products[kTaskRows * kTaskCols];
    for (int64_t r = 0; r < task.rows; ++r) std::fill_n(call_.out_at(task, r), task.cols, 0.0f);
    const int32_t* sums = x_sums_ + task.row;
    for_pieces(call_.k, call_.size, [&](int64_t p, int64_t count) {
      const int64_t group = p / call_.size;
      for (int64_t j = 0; j < task.cols; ++j) {
        unpack(task.col + j, p, count, group, weights + j * kPiece);
      }
      call_.kernel.matmul_s8(call_.input + task.row * call_.k + p, call_.k, sums, weights, kPiece,
                             count, task.rows, task.cols, products, kTaskCols, p % call_.size > 0);
      sums += call_.m;
      if (p + count == std::min(call_.k, (group + 1) * call_.size)) promote(task, group, products);
    });
    call_.finish(task);
  }

 private:
  void unpack(int64_t row, int64_t p, int64_t count, int64_t group, int8_t* weights) const {
    const AffineRow from = call_.weight(row);
    switch (call_.bits) {
      case 3:
        return unpack_weights<3>(from.low, from.high, p, count, from.zeros[group], weights);
      case 4:
        return unpack_weights<4>(from.low, nullptr, p, count, from.zeros[group], weights);
      default:
        return unpack_weights<8>(from.low, nullptr, p, count, 0, weights);
    }
  }

  void promote(const MatmulTasks::Task& task, int64_t group, const int32_t* products) const {
    float factors[kTaskCols];
    for (int64_t j = 0; j < task.cols; ++j) {
      factors[j] = call_.scale[(task.col + j) * call_.groups + group];
    }
    for (int64_t r = 0; r < task.rows; ++r) {
      float* y = call_.out_at(task, r);
      const int32_t* row = products + r * kTaskCols;
      for (int64_t j = 0; j < task.cols; ++j) y[j] += factors[j] * static_cast<float>(row[j]);
    }
  }

  const AffineCall& call_;
  const int32_t* x_sums_;
};

class AffineChunks {
 public:
  AffineChunks(const AffineCall& call, const AffineInput& input)
      : call_(call),
        input_(input),
        shape_{call.bits, count(call.k), call.groups, call.size},
        multiply_(call.kernel.matmul_affine[call.bits]) {}

  static int64_t count(int64_t k) { return (k + ops::affine::kChunk - 1) / ops::affine::kChunk; }

  void run(const MatmulTasks::Task& task) const {
    const int64_t stride = call_.call[ops::linear_affine::out].row_stride();
    for (int64_t r = 0; r < task.rows; r += kRows) {
      const int64_t first = (task.row + r) * shape_.chunks;
      const AffineInput from{input_.codes + first * ops::affine::kChunk,
                             input_.sums + first * kChunkLanes};
      for (int64_t j = 0; j < task.cols; j += 4) {
        const int64_t cols = std::min<int64_t>(4, task.cols - j);
        AffineRow rows[4];
        for (int64_t c = 0; c < 4; ++c) {
          rows[c] = call_.weight(task.col + j + std::min(c, cols - 1));
        }
        multiply_(from, std::min(kRows, task.rows - r), rows, shape_, cols,
                  call_.out_at(task, r) + j, stride);
      }
    }
    call_.finish(task);
  }

 private:
  // Rows of x that stay in the first-level cache while the weight passes by.
  static constexpr int64_t kRows = 4;

  const AffineCall& call_;
  const AffineInput input_;
  const AffineShape shape_;
  const MatmulAffine multiply_;
};

}  // namespace fewbit::cpu
