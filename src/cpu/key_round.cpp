#include "../ops/key_round.h"

#include <algorithm>
#include <vector>

#include "attention.h"
#include "checks.h"
#include "cpu_op.h"
#include "kernels.h"
#include "kv_codes.h"
#include "parallel.h"
#include "rotate.h"
#include "widened.h"

namespace fewbit::cpu {

namespace {

using namespace ops::key_round;

class Rounding {
 public:
  // feedback: the tensor's values in fp32.
  Rounding(const OpCall& call, const float* feedback)
      : call_(call),
        feedback_(feedback),
        width_(static_cast<int>(call.attrs[bits])),
        heads_(call[ops::key_round::feedback].shape[0]),
        dim_(call[ops::key_round::feedback].shape[1]) {}

  void row(int64_t row) const {
    const int32_t position = call_[positions].as<int32_t>()[row];
    if (position < 0) return;
    float* keys = call_[k].as<float>() + row * call_[k].row_stride();
    if (call_[rope]) {
      const float* table = call_[rope].as<float>() + position * call_[rope].row_stride();
      float* queries = call_[q].as<float>() + row * call_[q].row_stride();
      for (int64_t i = 0; i < call_[q].cols(); i += dim_)
        rotate(queries + i, table, dim_, queries + i);
      for (int64_t i = 0; i < call_[k].cols(); i += dim_) rotate(keys + i, table, dim_, keys + i);
    }
    std::vector<float> errors(dim_), added(dim_);
    for (int64_t head = 0; head < heads_; ++head) {
      std::fill(added.begin(), added.end(), 0.0f);
      this->head(head, keys + head * dim_, errors.data(), added.data());
    }
  }

 private:
  // added: zeros, for what errors of earlier groups add to each channel.
  void head(int64_t head, float* x, float* errors, float* added) const {
    const float* scales = call_[grid].as<float>() + head * dim_;
    const float* zeros = scales + heads_ * dim_;
    for (int64_t begin = 0; begin < dim_;) {
      const int64_t size = group_size(dim_ - begin), end = begin + size;
      for (int64_t i = begin; i < end; ++i) {
        const float code = static_code(x[i] + added[i], scales[i], zeros[i], width_);
        const float rounded = scales[i] * (code - zeros[i]);
        errors[i] = rounded - x[i];
        x[i] = rounded;
      }
      const float* weights = feedback_ + (head * dim_ + begin) * dim_ + end;
      kernels().rank_update(errors + begin, size, weights, dim_, dim_ - end, added + end);
      begin = end;
    }
  }

  const OpCall& call_;
  const float* feedback_;
  const int width_;
  const int64_t heads_, dim_;
};

}  // namespace

void round_keys(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {q});
  const int64_t count = call[positions].elements();
  for (int64_t row = 0; call[rope] && row < count; ++row) {
    const int32_t position = call[positions].as<int32_t>()[row];
    if (position >= 0) require_range(spec, positions, row, position, 0, call[rope].shape[0]);
  }
  std::vector<float> wide(call[feedback].elements());
  const Rounding rounding(call, widened(call[feedback], wide.data()));
  pool.parallel_for(count, row_grain(call[k].cols() * call[feedback].shape[1] / 2),
                    [&](int64_t begin, int64_t end) {
                      for (int64_t row = begin; row < end; ++row) rounding.row(row);
                    });
}

namespace {
const CpuOp op(spec, round_keys);
}  // namespace

}  // namespace fewbit::cpu
