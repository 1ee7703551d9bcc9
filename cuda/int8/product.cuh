// The operands of the op linear_int8 (src/ops/linear_int8.h), and what turns an int32 sum of code
// products into a result.
#pragma once

#include "../common/activation.cuh"
#include "../common/convert.cuh"
#include "packed_outliers.h"

namespace fewbit::cuda::int8 {

struct FloatTensor {
  const void* data = nullptr;
  DType dtype = DType::F32;

  __device__ __forceinline__ float operator[](int64_t index) const {
    return load_float(data, dtype, index);
  }

  // values[i] = the element at index_of(i), all loads under way at once.
  template <int Count, class IndexOf>
  __device__ __forceinline__ void gather(IndexOf index_of, float (&values)[Count]) const {
    switch (dtype) {
      case DType::F16:
        return gather_as<__half>(index_of, values);
      case DType::BF16:
        return gather_as<__nv_bfloat16>(index_of, values);
      default:
        return gather_as<float>(index_of, values);
    }
  }

 private:
  template <class T, int Count, class IndexOf>
  __device__ __forceinline__ void gather_as(IndexOf index_of, float (&values)[Count]) const {
    T loaded[Count];
#pragma unroll
    for (int i = 0; i < Count; ++i) loaded[i] = static_cast<const T*>(data)[index_of(i)];
#pragma unroll
    for (int i = 0; i < Count; ++i) values[i] = to_float(loaded[i]);
  }
};

// Outliers whose weights are the int8 codes, or weights in 16 bits (outlier_mma.cuh).
enum class OutlierPass { Codes, Weights };

struct Product {
  const int8_t* codes;         // [rows, depth]
  const float* scales;         // [rows]
  const int8_t* weight;        // [weight_rows, depth]
  const float* weight_scales;  // [columns]
  FloatTensor bias;            // [columns], or null
  int64_t rows, columns, weight_rows, depth;
  bool settled;  // the weight may be read before the kernels before this one have ended

  // The outlier part; no outliers without columns.
  const int32_t* outliers;  // ascending columns of x, or null
  const int32_t* outlier_count;
  FloatTensor x;              // [rows, x_columns]
  const int32_t* kept_slots;  // [x_columns]; null when no weights were kept (or in mode 1)
  FloatTensor kept;           // [slots, columns]
  int64_t x_columns;
  PackedOutliers packed;

  void* out;  // [rows, columns]
  DType out_dtype;
  Activation activation;
  bool bitsandbytes;
  DType rounding;  // mode 1: the dtype of its two intermediate roundings

  __device__ __forceinline__ int outlier_total() const { return outliers ? *outlier_count : 0; }
  // Whether so many outliers are packed: not those few that a tile gathers only once.
  __device__ __forceinline__ bool packs(int count) const {
    const int passes = has_pass(OutlierPass::Codes) + has_pass(OutlierPass::Weights);
    return packed && count > 2 * kOutlierChunk / passes && count <= PackedOutliers::kMost;
  }
  // Those that are not packed, which the product itself adds.
  __device__ __forceinline__ int outliers_here() const {
    const int count = outlier_total();
    return packs(count) ? 0 : count;
  }
  // What the product itself applies: packed outliers are added before the activation.
  __device__ __forceinline__ Activation activation_here() const {
    return packed && packs(outlier_total()) ? Activation::None : activation;
  }

  __device__ __forceinline__ bool has_pass(OutlierPass pass) const {
    return pass == OutlierPass::Codes ? !bitsandbytes : bitsandbytes || kept_slots;
  }

  // The slot of an outlier's kept weights, or -1 when the int8 weights stand in.
  __device__ __forceinline__ int slot_of(int outlier) const {
    return kept_slots ? kept_slots[outlier] : -1;
  }

  // What a code of a column of the result stands for.
  __device__ __forceinline__ float weight_of(int8_t code, float weight_scale) const {
    const float value = __fdiv_rn(static_cast<float>(code) * weight_scale, 127.0f);
    return bitsandbytes ? round_to(rounding, value) : value;
  }

  __device__ __forceinline__ float outlier_weight(int64_t column, int outlier, int slot) const {
    if (slot >= 0) return kept[slot * columns + column];
    return weight_of(weight[column * depth + outlier], weight_scales[column]);
  }

  // The same for several columns, all loads under way at once. As codes: without their scales.
  template <int Count, class ColumnOf>
  __device__ __forceinline__ void gather_outlier_weights(ColumnOf column_of, int outlier, int slot,
                                                         bool as_codes,
                                                         float (&values)[Count]) const {
    if (slot >= 0) return kept.gather([&](int i) { return slot * columns + column_of(i); }, values);
    int8_t codes_of[Count];
    float scale[Count];
#pragma unroll
    for (int i = 0; i < Count; ++i) {
      codes_of[i] = weight[column_of(i) * depth + outlier];
      scale[i] = as_codes ? 0.0f : weight_scales[column_of(i)];
    }
#pragma unroll
    for (int i = 0; i < Count; ++i) {
      values[i] = static_cast<float>(codes_of[i]);
      if (!as_codes) values[i] = __fdiv_rn(values[i] * scale[i], 127.0f);
      if (bitsandbytes) values[i] = round_to(rounding, values[i]);
    }
  }

  // sum and what the outliers first .. count - 1 bring to a result, the loads of several under way at
  // once.
  __device__ __forceinline__ float with_outliers(float sum, int first, int count, int64_t row,
                                                 int64_t column) const {
    constexpr int kBatch = 8;
    const float scale = first < count ? weight_scales[column] : 0.0f;
    for (; first < count; first += kBatch) {
      int outlier[kBatch], slot[kBatch];
      int8_t code[kBatch];
      float of_row[kBatch], of_slot[kBatch] = {};
#pragma unroll
      for (int i = 0; i < kBatch; ++i) outlier[i] = outliers[min(first + i, count - 1)];
      x.gather([&](int i) { return row * x_columns + outlier[i]; }, of_row);
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        code[i] = weight[column * depth + outlier[i]];
        slot[i] = kept_slots ? kept_slots[outlier[i]] : -1;
      }
      if (kept_slots && kept.data) {
        kept.gather([&](int i) { return max(slot[i], 0) * columns + column; }, of_slot);
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        float value = __fdiv_rn(static_cast<float>(code[i]) * scale, 127.0f);
        if (bitsandbytes) value = round_to(rounding, value);
        if (first + i < count) sum = fmaf(of_row[i], slot[i] >= 0 ? of_slot[i] : value, sum);
      }
    }
    return sum;
  }

  // acc * sx * sw / 127^2 + bias, rounded in mode 1.
  __device__ __forceinline__ float dequantize(float sum, float scale, float weight_scale,
                                              float bias_value) const {
    constexpr float kUnit = 1.0f / (127.0f * 127.0f);
    const float value = fmaf(sum, scale * (weight_scale * kUnit), bias_value);
    return bitsandbytes ? round_to(rounding, value) : value;
  }

  // Adds what the outliers contribute, and applies what comes last.
  __device__ __forceinline__ float finish(float value, float outlier_sum) const {
    value += outlier_sum;
    return activate(bitsandbytes ? round_to(rounding, value) : value, activation);
  }
};

}  // namespace fewbit::cuda::int8
