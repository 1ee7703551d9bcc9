// X W^T for up to four rows of X, by dot products: a warp owns Rows rows of W
// and reads each whole, 16 bytes a lane, Unroll loads of every row under way
// before the first is used. No shared memory and no barrier: blocks are short
// and many, so the memory system always has enough to do. Limited by the
// bandwidth of W; x comes from L1.
#pragma once

#include <algorithm>
#include <type_traits>

#include "convert.cuh"
#include "dependency.cuh"
#include "launch.h"
#include "reduce.cuh"

namespace fewbit::cuda {

constexpr int kGemvWarps = 4;
constexpr int kMaxGemvRows = 4;

template <class T>
struct GemvOperands {
  const T* weight;  // [weight_rows, cols], rows 16-byte aligned
  const T* x;       // [Batch, cols], likewise
  int64_t weight_rows;
  int64_t cols;
};

__device__ __forceinline__ uint4 load_once(const void* from) {
  uint4 loaded;
  asm volatile("ld.global.L1::no_allocate.L2::256B.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(loaded.x), "=r"(loaded.y), "=r"(loaded.z), "=r"(loaded.w)
               : "l"(from));
  return loaded;
}

// Sums products of 16 bytes of w and x.
__device__ __forceinline__ void dot(int32_t& sum, const uint4& w, const uint4& x, int8_t) {
  sum = __dp4a(static_cast<int>(w.x), static_cast<int>(x.x), sum);
  sum = __dp4a(static_cast<int>(w.y), static_cast<int>(x.y), sum);
  sum = __dp4a(static_cast<int>(w.z), static_cast<int>(x.z), sum);
  sum = __dp4a(static_cast<int>(w.w), static_cast<int>(x.w), sum);
}

template <class T>
__device__ __forceinline__ void dot(float& sum, const uint4& w, const uint4& x, T) {
  const auto& a = reinterpret_cast<const Vector<T>&>(w);
  const auto& b = reinterpret_cast<const Vector<T>&>(x);
#pragma unroll
  for (int i = 0; i < kVectorSize<T>; ++i)
    sum = fmaf(to_float(a.value[i]), to_float(b.value[i]), sum);
}

template <class T>
using GemvSum = std::conditional_t<sizeof(T) == 1, int32_t, float>;

// Epilogue is a trivially copyable struct with
//   static constexpr bool kHasPart           whether there is more to a result
//   than the products void part(float (&extra)[Rows][Batch], int64_t
//   first_column, int lane) const
//                                            a lane's share of it; the lanes'
//                                            shares are added up
//   void store(int64_t column, int64_t row, sum, float extra) const
template <class T, int Rows, int Batch, int Unroll, class Epilogue>
__global__ __launch_bounds__(kGemvWarps * 32) void gemv(const GemvOperands<T> p,
                                                        const Epilogue epilogue) {
  constexpr int kStep = 16 / sizeof(T);
  const int lane = threadIdx.x % 32;
  const int64_t first = (int64_t{blockIdx.x} * kGemvWarps + threadIdx.x / 32) * Rows;
  if (first >= p.weight_rows) return;  // counts as having waited: it touches nothing

  const T* row[Rows];
#pragma unroll
  for (int r = 0; r < Rows; ++r) row[r] = p.weight + min(first + r, p.weight_rows - 1) * p.cols;
#if __CUDA_ARCH__ >= 900
  // Towards L2 while the kernel before this one still runs. Unlike a load, a
  // prefetch cannot see data that is about to be overwritten.
  if (lane < Rows) {
    const auto bytes = static_cast<uint32_t>(min(p.cols * int64_t{sizeof(T)}, int64_t{16384}));
    const T* from = p.weight + min(first + lane, p.weight_rows - 1) * p.cols;
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
  }
#endif
  wait_for_predecessor();
  start_successor();

  GemvSum<T> sums[Rows][Batch] = {};
  float extra[Rows][Batch] = {};

  for (int64_t step = 0; step < p.cols; step += 32 * kStep * Unroll) {
    const int64_t start = step + int64_t{lane} * kStep;
    uint4 w[Unroll][Rows];
#pragma unroll
    for (int u = 0; u < Unroll; ++u) {
      const int64_t element = start + u * 32 * kStep;
#pragma unroll
      for (int r = 0; r < Rows; ++r) {
        w[u][r] = uint4{0, 0, 0, 0};
        if (element < p.cols) w[u][r] = load_once(row[r] + element);
      }
    }
    // The first weights are on their way.
    if constexpr (Epilogue::kHasPart) {
      if (step == 0) epilogue.part(extra, first, lane);
    }
#pragma unroll
    for (int u = 0; u < Unroll; ++u) {
      const int64_t element = start + u * 32 * kStep;
      if (element >= p.cols) break;
#pragma unroll
      for (int b = 0; b < Batch; ++b) {
        const uint4 x = *reinterpret_cast<const uint4*>(p.x + b * p.cols + element);
#pragma unroll
        for (int r = 0; r < Rows; ++r) dot(sums[r][b], w[u][r], x, T{});
      }
    }
  }

  // Result i ends up in lane i, so that all are finished side by side.
  GemvSum<T> sum = 0;
  float rest = 0;
#pragma unroll
  for (int i = 0; i < Rows * Batch; ++i) {
    const auto total = warp_reduce(sums[i / Batch][i % Batch], Sum{});
    const float part = Epilogue::kHasPart ? warp_reduce(extra[i / Batch][i % Batch], Sum{}) : 0.0f;
    if (lane == i) {
      sum = total;
      rest = part;
    }
  }
  const int64_t column = first + lane / Batch;
  if (lane < Rows * Batch && column < p.weight_rows) {
    epilogue.store(column, lane % Batch, sum, rest);
  }
}

// Launches gemv for 1 to kMaxGemvRows rows.
template <class T, class Epilogue>
void launch_gemv(const char* name, const GemvOperands<T>& operands, int64_t rows,
                 const Epilogue& epilogue, Context& context) {
  const auto with = [&](auto kernel, int rows_per_warp) {
    const int64_t per_block = int64_t{kGemvWarps} * rows_per_warp;
    Launch config;
    config.name = name;
    config.grid = dim3(static_cast<unsigned>((operands.weight_rows + per_block - 1) / per_block));
    config.block = dim3(kGemvWarps * 32);
    config.overlap = true;
    launch(config, context, kernel, operands, epilogue);
  };
  if (rows == 1) {
    with(gemv<T, 1, 1, 8, Epilogue>, 1);
  } else if (rows == 2) {
    with(gemv<T, 2, 2, 4, Epilogue>, 2);
  } else if (rows == 3) {
    with(gemv<T, 2, 3, 4, Epilogue>, 2);
  } else {
    with(gemv<T, 2, 4, 4, Epilogue>, 2);
  }
}

}  // namespace fewbit::cuda
