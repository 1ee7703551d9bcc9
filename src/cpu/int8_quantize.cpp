#include "../ops/int8_quantize.h"

#include <bit>
#include <cstring>
#include <limits>

#include "checks.h"
#include "cpu_op.h"
#include "kernels.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::int8_quantize;

constexpr int64_t kPiece = 1024;  // columns widened at a time
constexpr uint32_t kInfinity = 0x7f800000u;

// x as f32, a piece of a row at a time.
class Rows {
 public:
  Rows(const TensorView& view, const Kernels& kernel)
      : data_(view.as<char>()),
        cols_(view.shape[1]),
        size_(size_of(view.dtype)),
        widen_(kernel.widen[static_cast<int>(view.dtype)]) {}

  void read(int64_t row, int64_t begin, int64_t count, float* values) const {
    widen_(data_ + (row * cols_ + begin) * size_, count, values);
  }

 private:
  const char* data_;
  int64_t cols_;
  size_t size_;
  void (*widen_)(const void*, int64_t, float*);
};

// Lists the columns that hold a value of at least limit. flags has a byte per column.
int32_t find_outliers(const OpCall& call, ThreadPool& pool, float limit, uint8_t* flags) {
  const Kernels& kernel = kernels();
  const Rows rows(call[x], kernel);
  const int64_t m = call[x].shape[0], k = call[x].shape[1];
  // Pieces of columns, each for all rows: no two threads write one flag.
  const int64_t pieces = (k + kPiece - 1) / kPiece;
  pool.parallel_for(pieces, row_grain(m * kPiece), [&](int64_t begin, int64_t end) {
    for (int64_t first = begin * kPiece; first < std::min(end * kPiece, k); first += kPiece) {
      const int64_t count = std::min(kPiece, k - first);
      float values[kPiece];
      std::memset(flags + first, 0, count);
      for (int64_t row = 0; row < m; ++row) {
        rows.read(row, first, count, values);
        kernel.mark_outliers(values, count, limit, flags + first);
      }
    }
  });
  int32_t found = 0;
  for (int64_t column = 0; column < k; ++column) {
    if (flags[column]) call[columns].as<int32_t>()[found++] = static_cast<int32_t>(column);
  }
  return found;
}

class Quantizer {
 public:
  // limit is the threshold, NaN for none; outliers are the columns to leave out.
  Quantizer(const OpCall& call, float limit, const int32_t* outliers, int32_t outlier_count)
      : kernel_(kernels()),
        rows_(call[x], kernel_),
        k_(call[x].shape[1]),
        limit_(limit),
        outliers_(outliers),
        outlier_count_(outlier_count),
        count_all_columns_(static_cast<int>(call.attrs[mode]) == Bitsandbytes) {}

  // Writes k codes and returns the scale of the row.
  float quantize(int64_t row, int8_t* codes) const {
    const uint32_t largest = absmax(row);
    const bool finite = largest < kInfinity;
    if (!finite || largest == 0) {
      std::memset(codes, 0, k_);
      return finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
    }
    const float scale = std::bit_cast<float>(largest);
    const float factor = 127.0f / scale;
    for_pieces(row, true, [&](const float* values, int64_t begin, int64_t count) {
      kernel_.quantize(values, count, factor, codes + begin);
    });
    return scale;
  }

 private:
  uint32_t absmax(int64_t row) const {
    uint32_t largest = 0;
    for_pieces(row, !count_all_columns_, [&](const float* values, int64_t, int64_t count) {
      largest = std::max(largest, kernel_.absmax(values, count, limit_));
    });
    return largest;
  }

  // Calls body(values, first column, number) over a row, with zeros in outlier columns if asked.
  template <class Body>
  void for_pieces(int64_t row, bool clear_outliers, const Body& body) const {
    float values[kPiece];
    int32_t next = 0;
    for (int64_t begin = 0; begin < k_; begin += kPiece) {
      const int64_t count = std::min(kPiece, k_ - begin);
      rows_.read(row, begin, count, values);
      for (; clear_outliers && next < outlier_count_ && outliers_[next] < begin + count; ++next) {
        values[outliers_[next] - begin] = 0.0f;
      }
      body(values, begin, count);
    }
  }

  const Kernels& kernel_;
  const Rows rows_;
  const int64_t k_;
  const float limit_;
  const int32_t* outliers_;
  const int32_t outlier_count_;
  const bool count_all_columns_;
};

void run(const OpCall& call, ThreadPool& pool) {
  const int64_t m = call[x].shape[0], k = call[x].shape[1], padded = call[codes].shape[1];
  const float limit = static_cast<float>(call.attrs[threshold]);
  const bool split = call.attrs[threshold] > 0;
  const int32_t found =
      split ? find_outliers(call, pool, limit, static_cast<uint8_t*>(call.workspace)) : 0;
  if (call[count]) *call[count].as<int32_t>() = found;
  if (call[stats]) {
    call[stats].as<int64_t>()[0] += m * (k - found);
    call[stats].as<int64_t>()[1] += m * k;
  }
  const Quantizer quantizer(call, split ? limit : std::numeric_limits<float>::quiet_NaN(),
                            call[columns].as<int32_t>(), found);
  pool.parallel_for(m, row_grain(k), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int8_t* to = call[codes].as<int8_t>() + row * padded;
      call[scales].as<float>()[row] = quantizer.quantize(row, to);
      std::memset(to + k, 0, padded - k);
    }
  });
}

size_t workspace(const OpCall& call) { return call.attrs[threshold] > 0 ? call[x].shape[1] : 0; }

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
