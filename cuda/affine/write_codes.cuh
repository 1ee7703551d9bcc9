// Writing a row in another order and as codes on static grids (src/ops/affine_codes.h).
#pragma once

#include "../../src/ops/affine_codes.h"
#include "../common/convert.cuh"

namespace fewbit::cuda::affine {

constexpr int kPack = 8;  // columns that a thread writes at a time

struct CodeRows {
  const int32_t* order;  // null: 0, 1, 2, ...
  const float* grid;     // [2, count], the scales and below them the zero points; null for floats
  void* out;
  int64_t count;   // columns of out
  int64_t source;  // columns of what is written; an order that leaves them reads 0
  bool packs;      // every pack of out, order and grid may be moved at once

  __device__ __forceinline__ int64_t packs_in_row() const { return (count + kPack - 1) / kPack; }
};

inline CodeRows code_rows(const TensorView& order, const TensorView& grid, const TensorView& out,
                          int64_t source) {
  CodeRows rows{};
  rows.order = order ? order.as<int32_t>() : nullptr;
  rows.grid = grid ? grid.as<float>() : nullptr;
  rows.out = out.data;
  rows.count = order ? order.elements() : source;
  rows.source = source;
  rows.packs = rows.count % kPack == 0;
  for (const void* data :
       {static_cast<const void*>(rows.order), static_cast<const void*>(rows.grid),
        static_cast<const void*>(rows.out)}) {
    rows.packs = rows.packs && reinterpret_cast<uintptr_t>(data) % 16 == 0;
  }
  return rows;
}

template <class T>
struct alignas(sizeof(T) * kPack < 16 ? sizeof(T) * kPack : 16) Pack {
  T value[kPack];
};

// Neighbours first .. first + 7 of a constant vector; those from `count` on are the last one.
template <class T>
__device__ __forceinline__ Pack<T> load_constants(const T* from, int64_t first, int64_t count,
                                                  bool packs) {
  if (packs) return *reinterpret_cast<const Pack<T>*>(from + first);
  Pack<T> pack;
#pragma unroll
  for (int i = 0; i < kPack; ++i) pack.value[i] = from[min(first + i, count - 1)];
  return pack;
}

template <class T>
__device__ __forceinline__ void store_pack(T* to, const Pack<T>& pack, int64_t room, bool packs) {
  if (packs) {
    *reinterpret_cast<Pack<T>*>(to) = pack;
    return;
  }
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    if (i < room) to[i] = pack.value[i];
  }
}

template <int Bits>
__device__ __forceinline__ int code_of(float value, float scale, float zero) {
  constexpr auto kMost = static_cast<float>(ops::affine::largest_code(Bits));
  const float code = rintf(__fdiv_rn(value, scale)) + zero;
  return isnan(code) ? 0 : static_cast<int>(fminf(fmaxf(code, -kMost - 1.0f), kMost));
}

// The values of columns first .. first + 7 of out. `from` is the source's row:
//   float at(column) const                        a value
//   bool pack(first, float (&values)[kPack]) const  eight neighbours at once; false if it cannot
template <class From>
__device__ __forceinline__ void gather(const CodeRows& rows, int64_t first, const From& from,
                                       float (&values)[kPack]) {
  if (rows.order) {
    const auto order = load_constants(rows.order, first, rows.count, rows.packs);
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      const auto column = static_cast<uint32_t>(order.value[i]);
      values[i] = column < rows.source ? from.at(column) : 0.0f;
    }
  } else if (!rows.packs || !from.pack(first, values)) {
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      values[i] = first + i < rows.source ? from.at(first + i) : 0.0f;
    }
  }
}

// Writes columns first .. first + 7 of a row of out, as far as there are that many: codes of Bits, or
// for 16 values of T. The count of codes of 4 bits is even.
template <int Bits, class T>
__device__ __forceinline__ void write_values(const CodeRows& rows, int64_t row, int64_t first,
                                             const float (&values)[kPack]) {
  const int64_t room = rows.count - first;
  if constexpr (Bits == 16) {
    constexpr int kWidth = kVectorSize<T>;
    T* to = static_cast<T*>(rows.out) + row * rows.count + first;
    if (rows.packs) {
#pragma unroll
      for (int part = 0; part < kPack; part += kWidth) {
        Vector<T> vector;
#pragma unroll
        for (int i = 0; i < kWidth; ++i) vector.value[i] = from_float<T>(values[part + i]);
        store_vector(to + part, vector);
      }
    } else {
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        if (i < room) to[i] = from_float<T>(values[i]);
      }
    }
  } else {
    const auto scales = load_constants(rows.grid, first, rows.count, rows.packs);
    const auto zeros = load_constants(rows.grid + rows.count, first, rows.count, rows.packs);
    if constexpr (Bits == 8) {
      Pack<int8_t> codes;
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        codes.value[i] =
            static_cast<int8_t>(code_of<Bits>(values[i], scales.value[i], zeros.value[i]));
      }
      store_pack(static_cast<int8_t*>(rows.out) + row * rows.count + first, codes, room,
                 rows.packs);
    } else {
      uint32_t word = 0;
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        const int code = code_of<Bits>(values[i], scales.value[i], zeros.value[i]);
        word |= (static_cast<uint32_t>(code) & 15u) << 4 * i;
      }
      auto* to = static_cast<uint8_t*>(rows.out) + (row * rows.count + first) / 2;
      if (rows.packs) {
        *reinterpret_cast<uint32_t*>(to) = word;
      } else {
#pragma unroll
        for (int i = 0; i < kPack / 2; ++i) {
          if (2 * i < room) to[i] = static_cast<uint8_t>(word >> 8 * i);
        }
      }
    }
  }
}

// The same of what gather() finds.
template <int Bits, class T, class From>
__device__ __forceinline__ void write_pack(const CodeRows& rows, int64_t row, int64_t first,
                                           const From& from) {
  float values[kPack];
  gather(rows, first, from, values);
  write_values<Bits, T>(rows, row, first, values);
}

// Calls body(std::integral_constant<int, bits>) for the widths that there are.
template <class Body>
void with_bits(int bits, const Body& body) {
  if (bits == 16) return body(std::integral_constant<int, 16>{});
  if (bits == 8) return body(std::integral_constant<int, 8>{});
  body(std::integral_constant<int, 4>{});
}

}  // namespace fewbit::cuda::affine
