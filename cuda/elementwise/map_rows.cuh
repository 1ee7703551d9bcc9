// The shape shared by all ops that treat the elements of a matrix one by one.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../common/context.h"
#include "../common/convert.cuh"
#include "../common/dependency.cuh"
#include "../common/launch.h"

namespace fewbit::cuda {

// Count neighbouring elements of T, moved by as few instructions as their size allows. Addresses
// are multiples of the smaller of 16 bytes and the pack's size.
template <class T, int Count>
struct alignas(Count * sizeof(T) < 16 ? Count * sizeof(T) : 16) Pack {
  T value[Count];
};

template <int Count, class T>
__device__ __forceinline__ Pack<T, Count> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, Count>*>(from);
}

template <class T, int Count>
__device__ __forceinline__ void store_pack(T* to, const Pack<T, Count>& pack) {
  *reinterpret_cast<Pack<T, Count>*>(to) = pack;
}

constexpr int kMapThreads = 128;

// body.run<Body::kWidth>(row, column) for every pack of a row, body.run<1> for what remains of it.
template <class Body>
__global__ void __launch_bounds__(kMapThreads)
    map_rows_kernel(const Body body, int64_t rows, int64_t columns, int64_t packs) {
  start_successor();
  wait_for_predecessor();
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  const int64_t column =
      index < packs ? index * Body::kWidth : packs * Body::kWidth + (index - packs);
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    if (index < packs) {
      body.template run<Body::kWidth>(row, column);
    } else if (column < columns) {
      body.template run<1>(row, column);
    }
  }
}

// Body is a plain struct of pointers with a constant kWidth and
//   template <int Count> __device__ void run(int64_t row, int64_t column) const
// which treats Count elements from there on. aligned: every row of every operand may be read and
// written kWidth elements at a time.
template <class Body>
void map_rows(const char* name, Context& context, int64_t rows, int64_t columns, bool aligned,
              const Body& body) {
  if (rows <= 0 || columns <= 0) return;
  const int64_t packs = aligned ? columns / Body::kWidth : 0;
  const int64_t threads = packs + (columns - packs * Body::kWidth);
  const dim3 grid(static_cast<unsigned>((threads + kMapThreads - 1) / kMapThreads),
                  static_cast<unsigned>(std::min<int64_t>(rows, 65535)));
  launch({.name = name, .grid = grid, .block = dim3(kMapThreads), .overlap = true}, context,
         map_rows_kernel<Body>, body, rows, columns, packs);
}

}  // namespace fewbit::cuda
