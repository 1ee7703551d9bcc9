#include "../ops/affine_repack.h"

#include <cstring>

#include "cpu_op.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::affine_repack;

// Position `index` of a row of gptq_layout.h.
uint8_t field_at(const uint8_t* row, int64_t index, int width) {
  const int per_word = 32 / width;
  uint32_t word;
  std::memcpy(&word, row + index / per_word * 4, sizeof word);
  const int shift = ops::gptq::field_shift(static_cast<int>(index % per_word), width);
  return static_cast<uint8_t>(word >> shift & ((1u << width) - 1));
}

// A plane of fields of some width; flip is what codes are changed by.
void repack(const TensorView& from, const TensorView& to, int64_t row, int64_t positions, int width,
            uint8_t flip) {
  const uint8_t* fields = from.as<uint8_t>() + row * from.cols();
  uint8_t* bytes = to.as<uint8_t>() + row * to.cols();
  std::memset(bytes, 0, to.cols());
  for (int64_t p = 0; p < positions; ++p) {
    const uint8_t code = field_at(fields, p, width) ^ flip;
    const ops::affine::Field field = ops::affine::field_of(p, width);
    bytes[field.byte] |= static_cast<uint8_t>(code << field.shift);
  }
}

void run(const OpCall& call, ThreadPool& pool) {
  const int width = static_cast<int>(call.attrs[bits]);
  const auto k = static_cast<int64_t>(call.attrs[positions]);
  const uint8_t flip = width == 8 ? 0x80 : 0;
  pool.parallel_for(call[codes].rows(), row_grain(k), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      repack(call[codes], call[out_codes], row, k, ops::affine::low_width(width), flip);
      if (width == 3) repack(call[high], call[out_high], row, k, 1, 0);
    }
  });
}

const CpuOp op(spec, run);

}  // namespace

}  // namespace fewbit::cpu
