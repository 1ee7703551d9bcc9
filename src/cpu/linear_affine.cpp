#include "../ops/linear_affine.h"

#include "affine_codes.h"
#include "checks.h"
#include "cpu_op.h"
#include "kernels.h"
#include "matmul.h"
#include "parallel.h"
#include "widened.h"

namespace fewbit::cpu {

namespace {

using namespace ops::linear_affine;

// Positions that are unpacked and multiplied at a time.
constexpr int64_t kPiece = 256;

struct Matmul {
  const OpCall& call;
  const int8_t* input;    // i8[M, K]
  const int32_t* x_sums;  // of each row, for each piece
  const float* scale;
  const float* shift;  // the bias, or null
  const Kernels& kernel = kernels();
  const int64_t m = call[out].rows(), k = columns(call);
  const int64_t groups = call[scales].cols();
  const int64_t size = static_cast<int64_t>(call.attrs[group_size]);

  // Calls body(begin, count, group) for pieces, which end where groups do.
  template <class Body>
  static void for_pieces(int64_t k, int64_t size, const Body& body) {
    for (int64_t p = 0, count; p < k; p += count) {
      count = std::min({kPiece, k - p, size - p % size});
      body(p, count, p / size);
    }
  }

  void run(const MatmulTasks::Task& task) const {
    alignas(64) int8_t weights[kTaskCols * kPiece];
    int32_t products[kTaskRows * kTaskCols];
    for (int64_t r = 0; r < task.rows; ++r) std::fill_n(out_at(task, r), task.cols, 0.0f);
    const int32_t* sums = x_sums + task.row;
    for_pieces(k, size, [&](int64_t p, int64_t count, int64_t group) {
      for (int64_t j = 0; j < task.cols; ++j) {
        unpack(task.col + j, p, count, group, weights + j * kPiece);
      }
      kernel.matmul_s8(input + task.row * k + p, k, sums, weights, kPiece, count, task.rows,
                       task.cols, products, kTaskCols, p % size > 0);
      sums += m;
      if (p + count == std::min(k, (group + 1) * size)) promote(task, group, products);
    });
    for (int64_t r = 0; r < task.rows; ++r) finish(task, out_at(task, r));
  }

 private:
  float* out_at(const MatmulTasks::Task& task, int64_t r) const {
    return call[out].as<float>() + (task.row + r) * call[out].row_stride() + task.col;
  }

  void unpack(int64_t row, int64_t p, int64_t count, int64_t group, int8_t* weights) const {
    const uint8_t* low = call[codes].as<uint8_t>() + row * call[codes].cols();
    const int zero = call[zeros] ? call[zeros].as<uint8_t>()[row * groups + group] : 0;
    switch (static_cast<int>(call.attrs[bits])) {
      case 3:
        return unpack_weights<3>(low, call[high].as<uint8_t>() + row * call[high].cols(), p, count,
                                 zero, weights);
      case 4:
        return unpack_weights<4>(low, nullptr, p, count, zero, weights);
      default:
        return unpack_weights<8>(low, nullptr, p, count, 0, weights);
    }
  }

  void promote(const MatmulTasks::Task& task, int64_t group, const int32_t* products) const {
    float factors[kTaskCols];
    for (int64_t j = 0; j < task.cols; ++j) factors[j] = scale[(task.col + j) * groups + group];
    for (int64_t r = 0; r < task.rows; ++r) {
      float* y = out_at(task, r);
      const int32_t* row = products + r * kTaskCols;
      for (int64_t j = 0; j < task.cols; ++j) y[j] += factors[j] * static_cast<float>(row[j]);
    }
  }

  void finish(const MatmulTasks::Task& task, float* y) const {
    for (int64_t j = 0; shift && j < task.cols; ++j) y[j] += shift[task.col + j];
    const bool relu = call.attrs[activation] != 0;
    for (int64_t j = 0; relu && j < task.cols; ++j) y[j] = y[j] < 0 ? 0.0f : y[j];  // keeps a NaN
  }
};

int64_t piece_count(const OpCall& call) {
  int64_t count = 0;
  Matmul::for_pieces(columns(call), static_cast<int64_t>(call.attrs[group_size]),
                     [&](int64_t, int64_t, int64_t) { ++count; });
  return count;
}

// The activations as int8, in the buffer where they are packed.
const int8_t* widened_codes(const OpCall& call, ThreadPool& pool, int8_t* buffer) {
  if (call.attrs[x_bits] == 8) return call[x].as<int8_t>();
  const int64_t k = columns(call);
  pool.parallel_for(call[x].rows(), row_grain(k), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      unpack_nibbles(call[x].as<uint8_t>() + row * k / 2, k, buffer + row * k);
    }
  });
  return buffer;
}

void sum_codes(const OpCall& call, ThreadPool& pool, const int8_t* input, int32_t* x_sums) {
  const Kernels& kernel = kernels();
  const int64_t m = call[out].rows(), k = columns(call);
  pool.parallel_for(m, row_grain(k), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int32_t* to = x_sums + row;
      Matmul::for_pieces(k, static_cast<int64_t>(call.attrs[group_size]),
                         [&](int64_t p, int64_t count, int64_t) {
                           *to = kernel.sum_s8(input + row * k + p, count);
                           to += m;
                         });
    }
  });
}

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {out});
  require_float(spec, call, {bias});
  const int64_t m = call[out].rows(), n = call[out].cols();
  if (m == 0 || n == 0) return;
  auto* buffer = static_cast<float*>(call.workspace);
  const float* scale = widened(call[scales], buffer);
  buffer += call[scales].elements();
  const float* shift = widened(call[bias], buffer);
  auto* x_sums = reinterpret_cast<int32_t*>(buffer + n);
  const int8_t* input =
      widened_codes(call, pool, reinterpret_cast<int8_t*>(x_sums + m * piece_count(call)));
  sum_codes(call, pool, input, x_sums);
  const Matmul matmul{
      .call = call, .input = input, .x_sums = x_sums, .scale = scale, .shift = shift};
  const MatmulTasks tasks(m, n, pool.threads());
  pool.parallel_for(tasks.count(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) matmul.run(tasks[i]);
  });
}

size_t workspace(const OpCall& call) {
  const int64_t m = call[out].rows(), n = call[out].cols();
  const int64_t unpacked = call.attrs[x_bits] == 8 ? 0 : m * columns(call);
  return (call[scales].elements() + n) * sizeof(float) + m * piece_count(call) * sizeof(int32_t) +
         unpacked;
}

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
