#include "../ops/bitnet_quantize.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "checks.h"
#include "cpu_op.h"
#include "kernels.h"
#include "parallel.h"
#include "widened.h"

namespace fewbit::cpu {

namespace {

using namespace ops::bitnet_quantize;

constexpr int64_t kPiece = 1024;  // columns worked on at a time

struct Quantizer {
  const OpCall& call;
  const float* gain;  // the norm's weight, or null
  const Kernels& kernel = kernels();
  const int64_t k = call[x].cols();
  const int64_t padded = call[codes].cols();

  void run(int64_t row) const {
    const Statistics found = measure(row);
    const float root =
        gain ? std::sqrt(found.mean_square + static_cast<float>(call.attrs[eps])) : 1.0f;
    const float largest = std::max(found.largest, ops::bitnet::kSmallest * root);
    int8_t* to = call[codes].as<int8_t>() + row * padded;
    std::memset(to + k, 0, padded - k);
    // A NaN orders above infinity as bits, so found.largest is not less than it either.
    const bool finite = found.largest < std::numeric_limits<float>::infinity() &&
                        root < std::numeric_limits<float>::infinity();
    if (finite) {
      const float factor = 127.0f * (1.0f / largest);
      for_pieces(row, [&](float* values, int64_t begin, int64_t count) {
        scale(values, begin, count);
        kernel.quantize(values, count, factor, to + begin);
      });
    } else {
      std::memset(to, 0, k);
    }
    call[scales].as<float>()[row] =
        finite ? largest / (127.0f * root) : std::numeric_limits<float>::quiet_NaN();
    call[sums].as<int32_t>()[row] = kernel.sum_s8(to, padded);
  }

 private:
  struct Statistics {
    float largest, mean_square;
  };

  const float* input(Tensor tensor, int64_t row) const {
    return call[tensor].as<float>() + row * call[tensor].row_stride();
  }

  Statistics measure(int64_t row) const {
    uint32_t largest = 0;
    double squares = 0;
    for_pieces(row, [&](float* values, int64_t begin, int64_t count) {
      if (gain) squares += kernel.sum_squares(values, count, 0.0f);
      scale(values, begin, count);
      largest =
          std::max(largest, kernel.absmax(values, count, std::numeric_limits<float>::quiet_NaN()));
    });
    return {std::bit_cast<float>(largest), static_cast<float>(squares / static_cast<double>(k))};
  }

  void scale(float* values, int64_t begin, int64_t count) const {
    if (gain) kernel.multiply(values, gain + begin, count, values);
  }

  // Calls body(v, first column, number) over a row; body may overwrite the values.
  template <class Body>
  void for_pieces(int64_t row, const Body& body) const {
    float values[kPiece];
    for (int64_t begin = 0; begin < k; begin += kPiece) {
      const int64_t count = std::min(kPiece, k - begin);
      read(row, begin, count, values);
      body(values, begin, count);
    }
  }

  void read(int64_t row, int64_t begin, int64_t count, float* values) const {
    const float* from = input(x, row) + begin;
    if (!call[up]) {
      std::memcpy(values, from, count * sizeof(float));
      return;
    }
    const float* factors = input(up, row) + begin;
    switch (static_cast<int>(call.attrs[activation])) {
      case Silu:
        return kernel.silu_mul(from, factors, count, values);
      case Relu2:
        return kernel.relu2_mul(from, factors, count, values);
      default:
        return kernel.multiply(from, factors, count, values);
    }
  }
};

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {x});
  const int64_t cols = call[x].cols();
  if (cols == 0) return;
  const Quantizer quantizer{call, widened(call[weight], static_cast<float*>(call.workspace))};
  pool.parallel_for(call[x].rows(), row_grain(cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) quantizer.run(row);
  });
}

size_t workspace(const OpCall& call) { return call[x].cols() * sizeof(float); }

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
