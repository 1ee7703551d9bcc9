#include "../ops/bitnet_ternarize.h"

#include "bitnet_words.h"
#include "cpu_op.h"
#include "kernels.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::bitnet_ternarize;

// A half rounds to the even 0 and what is larger is clamped to 1; comparisons with NaN are false.
int code_of(float scaled) { return 1 + (scaled > 0.5f) - (scaled < -0.5f); }

void run(const OpCall& call, ThreadPool& pool) {
  const TensorView& from = call[w];
  const int64_t k = from.cols(), bytes = call[weight].cols();
  const float factor = 1.0f / *call[gamma].as<float>();
  const auto widen = kernels().widen[static_cast<int>(from.dtype)];
  constexpr int64_t kPiece = 1024;  // columns widened at a time, whole words of the output
  pool.parallel_for(from.rows(), row_grain(k), [&](int64_t begin, int64_t end) {
    float values[kPiece];
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t p = 0; p < k; p += kPiece) {
        const int64_t count = std::min(kPiece, k - p);
        widen(from.as<char>() + (row * k + p) * size_of(from.dtype), count, values);
        pack_ternary_row(count, call[weight].as<char>() + row * bytes + p / 4,
                         [&](int64_t i) { return code_of(values[i] * factor); });
      }
    }
  });
}

const CpuOp op(spec, run);

}  // namespace

}  // namespace fewbit::cpu
