// X W^T for up to four rows of X, by dot products: a block owns Rows rows of W, its warps share the
// columns, 16 bytes a lane and row at a time. Blocks are short and many, so the memory system always has
// enough to do, and what a block asks for at a time is contiguous. Limited by the bandwidth of W; x
// comes from L1.
#pragma once

#include <type_traits>

#include "captured.h"
#include "convert.cuh"
#include "dependency.cuh"
#include "launch.h"
#include "reduce.cuh"

namespace fewbit::cuda {

constexpr int kGemvWarps = 8;
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
//   static constexpr bool kHasPart           whether there is more to a result than the products
//   void part(float (&extra)[Rows][Batch], int64_t first_column, int lane) const
//                                            a lane's share of it; one warp's shares are added up
//   void store(int64_t column, int64_t row, sum, float extra) const
template <class T, int Rows, int Batch, int Unroll, class Epilogue>
__global__ __launch_bounds__(kGemvWarps * 32) void gemv(const GemvOperands<T> p,
                                                        const Epilogue epilogue) {
  constexpr int kPart = 16 / sizeof(T), kStep = kGemvWarps * 32 * kPart;
  constexpr int kResults = Rows * Batch;
  __shared__ GemvSum<T> shared_sums[kGemvWarps][kResults];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t first = int64_t{blockIdx.x} * Rows, own = int64_t{threadIdx.x} * kPart;

  start_successor();
  const T* row[Rows];
#pragma unroll
  for (int r = 0; r < Rows; ++r) {
    row[r] = p.weight + min(first + r, p.weight_rows - 1) * p.cols + own;
  }
  uint4 w[Unroll][Rows];
  const auto load = [&](int u, int64_t step) {
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
      w[u][r] = step + own < p.cols ? load_once(row[r] + step) : uint4{0, 0, 0, 0};
    }
  };
  // Weights may be read before the wait: see launch_gemv.
#pragma unroll
  for (int u = 0; u < Unroll; ++u) load(u, u * kStep);
  wait_for_predecessor();

  GemvSum<T> sums[kResults] = {};
  float extra[Rows][Batch] = {};
  if constexpr (Epilogue::kHasPart) {
    if (warp == 0) epilogue.part(extra, first, lane);
  }
  for (int64_t start = 0; start < p.cols; start += Unroll * kStep) {
#pragma unroll
    for (int u = 0; u < Unroll; ++u) {
      const int64_t step = start + u * kStep;
      if (step + own < p.cols) {
#pragma unroll
        for (int b = 0; b < Batch; ++b) {
          const uint4 x = *reinterpret_cast<const uint4*>(p.x + b * p.cols + step + own);
#pragma unroll
          for (int r = 0; r < Rows; ++r) dot(sums[r * Batch + b], w[u][r], x, T{});
        }
      }
      if (start + Unroll * kStep < p.cols) load(u, step + Unroll * kStep);
    }
  }

  // Result i ends up in lane i, so that all are finished side by side.
  float rest = 0;
#pragma unroll
  for (int i = 0; i < kResults; ++i) {
    const auto total = warp_reduce(sums[i], Sum{});
    if (lane == i) shared_sums[warp][i] = total;
    if constexpr (Epilogue::kHasPart) {
      if (warp > 0) continue;
      const float part = warp_reduce(extra[i / Batch][i % Batch], Sum{});
      if (lane == i) rest = part;
    }
  }
  __syncthreads();
  const int64_t column = first + lane / Batch;
  if (warp > 0 || lane >= kResults || column >= p.weight_rows) return;
  GemvSum<T> sum = 0;
#pragma unroll
  for (int i = 0; i < kGemvWarps; ++i) sum += shared_sums[i][lane];
  epilogue.store(column, lane % Batch, sum, rest);
}

// Launches gemv for 1 to kMaxGemvRows rows.
template <class T, class Epilogue>
void launch_gemv(const char* name, const GemvOperands<T>& operands, int64_t rows,
                 const Epilogue& epilogue, Context& context) {
  constexpr int kRows = 2, kUnroll = 2;
  Launch config;
  config.name = name;
  config.grid = dim3(static_cast<unsigned>((operands.weight_rows + kRows - 1) / kRows));
  config.block = dim3(kGemvWarps * 32);
  // The weights of a graph are complete before it runs; those of an eager call may not be before the
  // kernel ahead of this one has ended.
  config.overlap = is_captured(context);
  const auto with = [&](auto batch) {
    launch(config, context, gemv<T, kRows, batch(), kUnroll, Epilogue>, operands, epilogue);
  };
  switch (rows) {
    case 1:
      return with(std::integral_constant<int, 1>{});
    case 2:
      return with(std::integral_constant<int, 2>{});
    case 3:
      return with(std::integral_constant<int, 3>{});
    default:
      return with(std::integral_constant<int, 4>{});
  }
}

}  // namespace fewbit::cuda
