// The grid that GPTQ rounds a group of weights to, found by one warp for each row and group. The
// arithmetic is that of the CPU step by step: the compiler must not fuse it.
#pragma once

#include "../common/launch.h"
#include "../common/reduce.cuh"

namespace fewbit::cuda::gptq_quantizer {

struct Grid {
  float scale, zero;

  __device__ __forceinline__ float clamp(float steps, float most) const {
    const float value = rintf(steps) + zero;
    return value >= 0 ? fminf(value, most) : 0.0f;  // 0 for a NaN, too
  }
  __device__ __forceinline__ float code(float x, float most) const {
    return clamp(x / scale, most);
  }
  __device__ __forceinline__ float value(float code) const { return __fmul_rn(scale, code - zero); }
};

struct GridSettings {
  int bits;
  bool sym;
  float mse;  // exponent of the search for the best range, 0 for none

  __device__ __forceinline__ float most() const { return static_cast<float>((1 << bits) - 1); }
};

// The grids of a row: scales f32[N, groups], zeros u8[N, groups].
struct Grids {
  float* scales;
  uint8_t* zeros;
  int64_t groups;

  __device__ __forceinline__ Grid at(int64_t row, int64_t group) const {
    return {scales[row * groups + group], static_cast<float>(zeros[row * groups + group])};
  }
};

// Runs of neighbouring values in each row of a matrix, and the grid that each run makes.
struct GridRuns {
  const float* x;
  int64_t rows, cols;
  const uint8_t* dead;   // columns to be taken as 0; may be null
  int64_t first;         // where the first run starts
  int64_t size;          // of a run; the last one of a row may be shorter
  int64_t count;         // of runs
  const int32_t* order;  // run at p makes grid order[p] / size; null: grid p / size
};

namespace grid_kernels {

// Shrunk ranges that the search tries, each a hundredth narrower than the one before.
constexpr int kRanges = 80;
constexpr int kWarps = 8;

struct Range {
  float low, high;

  __device__ __forceinline__ Grid grid(const GridSettings& settings) const {
    const float scale = (high - low) / settings.most();
    const float zero =
        settings.sym ? static_cast<float>(1 << (settings.bits - 1)) : rintf(-low / scale);
    return {scale, fminf(fmaxf(zero, 0.0f), settings.most())};
  }
  __device__ __forceinline__ Range shrunk(float part) const {
    return {__fmul_rn(part, low), __fmul_rn(part, high)};
  }
};

struct Run {
  const float* x;
  const uint8_t* dead;
  int64_t count;

  __device__ __forceinline__ float operator[](int64_t i) const {
    return dead && dead[i] ? 0.0f : x[i];
  }
};

__device__ __forceinline__ Range range_of(const Run& run, const GridSettings& settings, int lane) {
  float low = 0, high = 0;
  for (int64_t i = lane; i < run.count; i += 32) {
    low = fminf(low, run[i]);
    high = fmaxf(high, run[i]);
  }
  low = -warp_reduce(-low, Max{});
  high = warp_reduce(high, Max{});
  if (settings.sym) {
    high = fmaxf(-low, high);
    if (low < 0) low = -high;
  }
  if (low == 0 && high == 0) return {-1, 1};
  return {low, high};
}

__device__ __forceinline__ double error_of(const Grid& grid, const Run& run,
                                           const GridSettings& settings, int lane) {
  double sum = 0;
  for (int64_t i = lane; i < run.count; i += 32) {
    const float x = run[i];
    sum += powf(fabsf(grid.value(grid.code(x, settings.most())) - x), settings.mse);
  }
  return warp_reduce(sum, Sum{});
}

// The same grid with the other integer beside the exact zero point.
__device__ __forceinline__ Grid neighbour_of(const Grid& grid, float low, float most) {
  const float exact = -low / grid.scale;
  const float below = fminf(fmaxf(floorf(exact), 0.0f), most);
  const float above = fminf(fmaxf(ceilf(exact), 0.0f), most);
  return {grid.scale, grid.zero == below ? above : below};
}

// The other grid that is tried for a range: with sym the one upside down, else the one with the other
// integer beside the exact zero point.
__device__ __forceinline__ Grid second_of(const Grid& grid, float low,
                                          const GridSettings& settings) {
  return settings.sym ? Grid{-grid.scale, grid.zero} : neighbour_of(grid, low, settings.most());
}

__device__ __forceinline__ Grid find_grid(const Run& run, const GridSettings& settings, int lane) {
  const Range range = range_of(run, settings, lane);
  Grid best = range.grid(settings);
  if (!(settings.mse > 0)) return best;
  double least = INFINITY;
  const bool both = settings.sym || settings.bits == 2;
  for (int i = 0; i < (both ? 2 : 1) * kRanges; ++i) {
    const float part = 1 - static_cast<float>(both ? i / 2 : i) / 100;
    const Range tried = range.shrunk(part);
    Grid grid = tried.grid(settings);
    if (both && i % 2 == 1) grid = second_of(grid, tried.low, settings);
    const double error = error_of(grid, run, settings, lane);
    if (error < least) {
      least = error;
      best = grid;
    }
  }
  return best;
}

__global__ __launch_bounds__(kWarps * 32) void find_grids(const GridRuns runs,
                                                          const GridSettings settings,
                                                          const Grids grids) {
  const int lane = threadIdx.x % 32;
  const int64_t index = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  const int64_t row = index / runs.count, at = runs.first + index % runs.count * runs.size;
  if (row >= runs.rows) return;
  const int64_t group = (runs.order ? runs.order[at] : at) / runs.size;
  if (group < 0 || group >= grids.groups) return;
  const Run run{runs.x + row * runs.cols + at, runs.dead ? runs.dead + at : nullptr,
                min(runs.size, runs.cols - at)};
  const Grid grid = find_grid(run, settings, lane);
  if (lane != 0) return;
  grids.scales[row * grids.groups + group] = grid.scale;
  grids.zeros[row * grids.groups + group] = static_cast<uint8_t>(grid.zero);
}

}  // namespace grid_kernels

inline void make_grids(const GridRuns& runs, const GridSettings& settings, const Grids& grids,
                       Context& context) {
  using namespace grid_kernels;
  if (runs.count <= 0) return;
  const dim3 blocks(static_cast<unsigned>((runs.rows * runs.count + kWarps - 1) / kWarps));
  launch({.name = "gptq_quantize: grids", .grid = blocks, .block = dim3(kWarps * 32)}, context,
         find_grids, runs, settings, grids);
}

}  // namespace fewbit::cuda::gptq_quantizer
