#include "../ops/gptq_repack.h"

#include <cstring>

#include "checks.h"
#include "cpu_op.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::gptq_repack;
using ops::gptq::field_shift;
using ops::gptq::kAlignment;
using ops::gptq::low_width;

// Field `index` of a little-endian bit stream whose words are `stride` apart.
uint32_t field_at(const uint32_t* words, int64_t stride, int64_t index, int width) {
  const int64_t word = index * width / 32;
  const int shift = static_cast<int>(index * width % 32);
  uint32_t value = words[word * stride] >> shift;
  if (shift + width > 32) value |= words[(word + 1) * stride] << (32 - shift);
  return value & ((1u << width) - 1);
}

// Packs 32 fields of some width, bits begin .. begin + width of each code.
void pack(const uint8_t* codes, int begin, int width, char* out) {
  const int per_word = 32 / width;
  const uint32_t mask = (1u << width) - 1;
  for (int first = 0; first < kAlignment; first += per_word) {
    uint32_t word = 0;
    for (int i = 0; i < per_word; ++i) {
      word |= ((uint32_t{codes[first + i]} >> begin) & mask) << field_shift(i, width);
    }
    std::memcpy(out + first * width / 8, &word, sizeof word);
  }
}

struct Repack {
  const OpCall& call;
  const int width = static_cast<int>(call.attrs[bits]);
  const int64_t n = call[qweight].cols();
  const int64_t k = call[qweight].rows() * 32 / width;
  const int64_t positions = call[order] ? call[order].elements() : k;
  const int32_t* source = call[order] ? call[order].as<int32_t>() : nullptr;

  // Codes of outputs begin .. end. Positions outermost: neighbouring outputs share cache lines.
  void repack_codes(int64_t begin, int64_t end) const {
    const int low = low_width(width);
    for (int64_t p = 0; p < positions; p += kAlignment) {
      for (int64_t col = begin; col < end; ++col) {
        uint8_t chunk[kAlignment] = {};
        for (int64_t i = 0; i < std::min(kAlignment, positions - p); ++i) {
          const int64_t input = source ? source[p + i] : p + i;
          if (input < 0) continue;
          const auto* column = call[qweight].as<uint32_t>() + col;
          chunk[i] = static_cast<uint8_t>(field_at(column, n, input, width));
        }
        const auto place = [&](int tensor, int plane) {
          return call[tensor].as<char>() + col * call[tensor].cols() + p * plane / 8;
        };
        pack(chunk, 0, low, place(codes, low));
        if (width == 3) pack(chunk, low, 1, place(high, 1));
      }
    }
  }

  uint8_t zero_at(int64_t group, int64_t col) const {
    const auto* row = call[qzeros].as<uint32_t>() + group * call[qzeros].cols();
    const uint32_t mask = (1u << width) - 1;
    if (call.attrs[v1] == 0) return static_cast<uint8_t>(field_at(row, 1, col, width));
    if (width == 3) return static_cast<uint8_t>((field_at(row, 1, col, width) + 1) & mask);
    const uint32_t ones = 0xffffffffu / mask;  // 1 in every field
    const int per_word = 32 / width;
    const uint32_t word = row[col / per_word] + ones;
    return static_cast<uint8_t>((word >> (col % per_word * width)) & mask);
  }

  template <class T>
  void repack_groups(int64_t begin, int64_t end) const {
    const int64_t count = call[zeros].cols();
    for (int64_t g = 0; g < count; ++g) {
      const int64_t from = call[groups] ? call[groups].as<int32_t>()[g] : g;
      for (int64_t col = begin; col < end; ++col) {
        call[zeros].as<uint8_t>()[col * count + g] = zero_at(from, col);
        call[out_scales].as<T>()[col * count + g] = call[scales].as<T>()[from * n + col];
      }
    }
  }
};

void run(const OpCall& call, ThreadPool& pool) {
  const Repack repack{call};
  if (call[order]) {
    for (int64_t p = 0; p < repack.positions; ++p) {
      require_range(spec, order, p, repack.source[p], -1, repack.k);
    }
    for (int64_t g = 0; g < call[groups].elements(); ++g) {
      require_range(spec, groups, g, call[groups].as<int32_t>()[g], 0, call[scales].rows());
    }
  }
  // A multiple of a cache line of words.
  constexpr int64_t kOutputs = 16;
  pool.parallel_for(repack.n, kOutputs, [&](int64_t begin, int64_t end) {
    repack.repack_codes(begin, end);
    if (size_of(call[scales].dtype) == sizeof(float)) {
      repack.repack_groups<float>(begin, end);
    } else {
      repack.repack_groups<uint16_t>(begin, end);
    }
  });
}

const CpuOp op(spec, run);

}  // namespace

}  // namespace fewbit::cpu
