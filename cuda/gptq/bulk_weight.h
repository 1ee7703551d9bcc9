// What the kernels that get codes by bulk copies ask of a weight.
#pragma once

#include <cstdint>

#include "linear_gptq.h"

namespace fewbit::cuda::gptq {

constexpr int kBulkTile = 16;    // rows of W
constexpr int kBulkPiece = 128;  // positions

// Whole tiles of rows that the copies can begin at, groups of whole pieces, scales of 16 bits, and rows of
// x in whole units of 16 bytes.
inline bool bulk_copies_fit(const LinearGptq& linear) {
  const Weight& w = linear.weight;
  const auto is_aligned = [](const void* pointer) {
    return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
  };
  const bool rows_fit = w.rows >= kBulkTile && w.rows % kBulkTile == 0 && w.positions > 0 &&
                        w.row_bytes(ops::gptq::low_width(w.bits)) % 16 == 0 &&
                        (w.bits != 3 || w.row_bytes(1) % 16 == 0);
  const bool groups_fit = w.groups == 1 || w.group_size % kBulkPiece == 0;
  return rows_fit && groups_fit && w.scales_dtype != DType::F32 && linear.depth % 8 == 0 &&
         is_aligned(w.codes) && is_aligned(w.high) && is_aligned(w.scales) && is_aligned(w.zeros);
}

}  // namespace fewbit::cuda::gptq
