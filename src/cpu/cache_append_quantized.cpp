#include "../ops/cache_append_quantized.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "../core/half.h"
#include "attention.h"
#include "checks.h"
#include "cpu_op.h"
#include "kv_codes.h"
#include "parallel.h"
#include "rotate.h"

namespace fewbit::cpu {

namespace {

using namespace ops::cache_append_quantized;

// Codes on the grid of each channel.
void quantize_static(const float* x, int64_t dim, const float* scales, const float* zeros,
                     int width, uint8_t* codes) {
  for (int64_t i = 0; i < dim; ++i) {
    codes[i] = static_cast<uint8_t>(static_code(x[i], scales[i], zeros[i], width));
  }
}

// Codes between the smallest and the largest value of the head; writes scale and smallest value.
void quantize_dynamic(const float* x, int64_t dim, int width, uint8_t* codes, uint16_t* scales) {
  const auto [least, most] = std::minmax_element(x, x + dim);
  scales[0] = f32_to_f16((*most - *least) / static_cast<float>(ops::kv::largest_code(width)));
  scales[1] = f32_to_f16(*least);
  const float scale = f16_to_f32(scales[0]), smallest = f16_to_f32(scales[1]);
  for (int64_t i = 0; i < dim; ++i) {
    const float code = scale > 0 ? std::nearbyint((x[i] - smallest) / scale) : 0.0f;
    codes[i] = static_cast<uint8_t>(clamp_code(code, width));
  }
}

// Keys or values of a call, and where their codes go.
struct Side {
  const TensorView& x;
  const TensorView& grid;
  const TensorView& cache;
  const TensorView& scales;
};

class Append {
 public:
  explicit Append(const OpCall& call)
      : call_(call),
        width_(static_cast<int>(call.attrs[bits])),
        heads_(call[key_cache].shape[1]),
        page_size_(call[key_cache].shape[2]),
        dim_(call[k].cols() / heads_) {}

  void row(int64_t row) const {
    const int64_t slot = call_[slots].as<int32_t>()[row];
    if (slot < 0) return;
    const float* table = nullptr;
    if (call_[rope]) {
      table =
          call_[rope].as<float>() + call_[positions].as<int32_t>()[row] * call_[rope].row_stride();
    }
    side({call_[k], call_[key_grid], call_[key_cache], call_[key_scales]}, row, slot, table);
    side({call_[v], call_[value_grid], call_[value_cache], call_[value_scales]}, row, slot,
         nullptr);
    if (!table) return;
    float* query = call_[q].as<float>() + row * call_[q].row_stride();
    for (int64_t i = 0; i < call_[q].cols(); i += dim_) rotate(query + i, table, dim_, query + i);
  }

 private:
  void side(const Side& side, int64_t row, int64_t slot, const float* table) const {
    std::vector<float> rotated(dim_);
    std::vector<uint8_t> codes(dim_);
    const int64_t page = slot / page_size_, offset = slot % page_size_;
    for (int64_t head = 0; head < heads_; ++head) {
      const float* x = side.x.as<float>() + row * side.x.row_stride() + head * dim_;
      if (table) {
        rotate(x, table, dim_, rotated.data());
        x = rotated.data();
      }
      const int64_t place = (page * heads_ + head) * page_size_ + offset;
      if (side.grid) {
        const float* grid = side.grid.as<float>() + head * dim_;
        quantize_static(x, dim_, grid, grid + heads_ * dim_, width_, codes.data());
      } else {
        quantize_dynamic(x, dim_, width_, codes.data(), side.scales.as<uint16_t>() + 2 * place);
      }
      pack_codes(codes.data(), dim_, width_,
                 side.cache.as<uint8_t>() + place * side.cache.shape[3]);
    }
  }

  const OpCall& call_;
  const int width_;
  const int64_t heads_, page_size_, dim_;
};

}  // namespace

void append_codes(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {q});
  const TensorView& cache = call[key_cache];
  const int64_t count = call[slots].elements();
  for (int64_t row = 0; row < count; ++row) {
    const int64_t slot = call[slots].as<int32_t>()[row];
    if (slot < 0) continue;
    require_range(spec, slots, row, slot, 0, cache.shape[0] * cache.shape[2]);
    if (!call[rope]) continue;
    require_range(spec, positions, row, call[positions].as<int32_t>()[row], 0, call[rope].shape[0]);
  }
  const Append append(call);
  pool.parallel_for(count, row_grain(call[q].cols() + 8 * call[k].cols()),
                    [&](int64_t begin, int64_t end) {
                      for (int64_t row = begin; row < end; ++row) append.row(row);
                    });
}

namespace {
const CpuOp op(spec, append_codes);
}  // namespace

}  // namespace fewbit::cpu
