// What bulk_matmul needs of a tile beside the sums: scales, bias and outliers.
#pragma once

#include "../common/reduce.cuh"
#include "product.cuh"

namespace fewbit::cuda::int8 {

constexpr int kBulkStaged = 64;  // outliers at most; further ones are read where they are needed
constexpr int kBulkKept = 16;    // of these, with kept weights

// Columns of the result in a tile, which are rows of W, and rows of X. Outliers whose weights are codes
// come first in `column` and `x`, those with kept weights from kBulkStaged on.
template <int Columns, int Rows>
struct BulkTerms {
  int count, codes, kept;                              // outliers: all, and those that are here
  int32_t column[kBulkStaged + kBulkKept];             // of X
  int32_t slot[kBulkKept];                             // of kept weights
  alignas(16) float x[kBulkStaged + kBulkKept][Rows];  // of a finishing warp's rows side by side
  // Of the tile that is multiplied and the one that is finished.
  int8_t code[2][kBulkStaged][Columns];
  uint16_t kept_weight[2][kBulkKept][Columns];
};

// The warp that sees to the outliers.
template <int Columns, int Rows>
struct BulkOutliers {
  static constexpr int kEach = kBulkStaged / 32;

  const Product& p;
  BulkTerms<Columns, Rows>& terms;
  int lane;
  int code_column[kEach];  // of outliers lane, lane + 32, ... with codes; past the last beyond all

  // Finds what is where.
  __device__ __forceinline__ BulkOutliers(const Product& p, BulkTerms<Columns, Rows>& terms,
                                          int lane)
      : p(p), terms(terms), lane(lane) {
    int count = 0, listed[kEach] = {};
    if (p.outliers) {
      // The list has a place for every column of x: it may be read before the count is known.
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        listed[i] = p.outliers[min(int64_t{i * 32 + lane}, p.x_columns - 1)];
      }
      count = *p.outlier_count;
    }
    int codes = 0, kept = 0, end = min(count, kBulkStaged);
    const unsigned before = (1u << lane) - 1;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int index = i * 32 + lane;
      const int slot = index < end ? p.slot_of(listed[i]) : -1;
      const int slot_place = kept + __popc(__ballot_sync(kFullWarp, slot >= 0) & before);
      // The first without room ends the list, as does one whose kept weight has more than 16 bits.
      const unsigned over = __ballot_sync(
          kFullWarp, slot >= 0 && (slot_place >= kBulkKept || p.kept.dtype == DType::F32));
      if (over) end = min(end, i * 32 + __ffs(static_cast<int>(over)) - 1);
      const bool is_kept = slot >= 0 && index < end, is_code = slot < 0 && index < end;
      const unsigned of_codes = __ballot_sync(kFullWarp, is_code);
      if (is_code) terms.column[codes + __popc(of_codes & before)] = listed[i];
      if (is_kept) {
        terms.column[kBulkStaged + slot_place] = listed[i];
        terms.slot[slot_place] = slot;
      }
      codes += __popc(of_codes);
      kept += __popc(__ballot_sync(kFullWarp, is_kept));
    }
    if (lane == 0) {
      terms.count = count;
      terms.codes = codes;
      terms.kept = kept;
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int index = i * 32 + lane;
      code_column[i] = index < codes ? terms.column[index] : INT32_MAX;
    }
  }

  // The kept weights of the column of the result that this lane has in a tile.
  __device__ __forceinline__ void place_kept(int tile, int64_t column, bool inside) const {
    constexpr int kBatch = 8;
    const int count = terms.kept;
    const auto* from = static_cast<const uint16_t*>(p.kept.data) + column;
    for (int first = 0; first < count && inside; first += kBatch) {
      uint16_t weight[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int slot = terms.slot[min(first + i, count - 1)];
        weight[i] = from[slot * p.columns];
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        if (first + i < count) terms.kept_weight[tile & 1][first + i][lane] = weight[i];
      }
    }
  }

  // Codes before this byte of a row of W.
  __device__ __forceinline__ int codes_before(int byte) const {
    int codes = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      codes += __popc(__ballot_sync(kFullWarp, code_column[i] < byte));
    }
    return codes;
  }

  // Codes first .. end - 1 of this lane's column; code_at(column of X) finds one.
  template <class CodeAt>
  __device__ __forceinline__ void place_codes(int tile, int first, int end, CodeAt code_at) const {
    constexpr int kBatch = 4;
    for (; first < end; first += kBatch) {
      int8_t code[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) code[i] = code_at(terms.column[min(first + i, end - 1)]);
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        if (first + i < end) terms.code[tile & 1][first + i][lane] = code[i];
      }
    }
  }
};

// A finishing warp's rows of X: first, first + Step, ..., Each of them.
template <int Step, int Each>
struct BulkRows {
  const Product& p;
  int first;
  float scale[Each];

  __device__ __forceinline__ BulkRows(const Product& p, int first) : p(p), first(first) {
#pragma unroll
    for (int i = 0; i < Each; ++i) scale[i] = p.scales[min(int64_t{row(i)}, p.rows - 1)];
  }
  __device__ __forceinline__ int row(int i) const { return first + i * Step; }

  // Their outliers, when BulkOutliers has found which these are.
  template <int Columns, int Rows>
  __device__ __forceinline__ void place_outliers(BulkTerms<Columns, Rows>& terms, int lane) const {
    for (int index = lane; index < terms.codes + terms.kept; index += 32) {
      const int place = index < terms.codes ? index : index - terms.codes + kBulkStaged;
      float x[Each];
      p.x.gather(
          [&](int i) {
            return min(int64_t{row(i)}, p.rows - 1) * p.x_columns + terms.column[place];
          },
          x);
#pragma unroll
      for (int i = 0; i < Each; ++i) terms.x[place][first * Each + i] = x[i];
    }
    __syncwarp();
  }

  // A thread's results in one column of a tile.
  template <int Columns, int Rows>
  __device__ __forceinline__ void store(const BulkTerms<Columns, Rows>& terms, int tile,
                                        int64_t column, int in_tile, float weight_scale, float bias,
                                        const int32_t (&sums)[Each]) const {
    float outlier_sums[Each] = {};
    const auto add = [&](int place, float weight) {
#pragma unroll
      for (int i = 0; i < Each; ++i) {
        outlier_sums[i] = fmaf(terms.x[place][first * Each + i], weight, outlier_sums[i]);
      }
    };
    const int codes = terms.codes, kept = terms.kept;
    if (p.bitsandbytes) {
      for (int i = 0; i < codes; ++i) {
        add(i, p.weight_of(terms.code[tile & 1][i][in_tile], weight_scale));
      }
    } else {
#pragma unroll 4
      for (int i = 0; i < codes; ++i) add(i, static_cast<float>(terms.code[tile & 1][i][in_tile]));
#pragma unroll
      for (float& sum : outlier_sums) sum *= weight_scale / 127.0f;
    }
#pragma unroll 1
    for (int i = 0; i < kept; ++i) {
      const uint16_t bits = terms.kept_weight[tile & 1][i][in_tile];
      add(kBulkStaged + i, p.kept.dtype == DType::BF16
                               ? __bfloat162float(__ushort_as_bfloat16(bits))
                               : __half2float(__ushort_as_half(bits)));
    }
#pragma unroll
    for (int i = 0; i < Each; ++i) {
      if (row(i) >= p.rows) break;
      const float outlier_sum =
          p.with_outliers(outlier_sums[i], codes + kept, terms.count, row(i), column);
      const float value = p.dequantize(static_cast<float>(sums[i]), scale[i], weight_scale, bias);
      store_float(p.out, p.out_dtype, row(i) * p.columns + column, p.finish(value, outlier_sum));
    }
  }
};

}  // namespace fewbit::cuda::int8
