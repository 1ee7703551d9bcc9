// Normalisation of rows, with the residual sum fused in: what all norms share.
#pragma once

#include "../common/context.h"
#include "../common/convert.cuh"
#include "../common/dependency.cuh"
#include "../common/launch.h"
#include "../common/reduce.cuh"

namespace fewbit::cuda {

enum class Norm { Rms, Layer };

template <class T>
struct RowNorm {
  const T* x;
  T* residual;         // null: none
  const void* weight;  // null: ones
  const void* bias;    // null: zeros
  DType weight_dtype;  // of bias too
  int64_t columns;
  float eps;

  __device__ float scale_at(int64_t column) const {
    return weight ? load_float(weight, weight_dtype, column) : 1.0f;
  }
  __device__ float shift_at(int64_t column) const {
    return bias ? load_float(bias, weight_dtype, column) : 0.0f;
  }
};

// Of a call's operands; residual, weight and bias may be absent.
template <class T>
RowNorm<T> row_norm_of(const TensorView& x, const TensorView& residual, const TensorView& weight,
                       const TensorView& bias, double eps) {
  return {.x = x.as<T>(),
          .residual = residual.as<T>(),
          .weight = weight.data,
          .bias = bias.data,
          .weight_dtype = weight ? weight.dtype : bias.dtype,
          .columns = x.cols(),
          .eps = static_cast<float>(eps)};
}

__device__ __forceinline__ void prefetch_line(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

__device__ __forceinline__ void prefetch(const void* data, DType dtype, int64_t index) {
  if (!data) return;
  prefetch_line(static_cast<const char*>(data) + index * (dtype == DType::F32 ? 4 : 2));
}

// Where the values of a row go. A sink is a trivially copyable struct with
//   void prefetch<Threads>() const      brings constant operands towards L2
//   void put(row, column, float (&y)[Count]) const
//                                       takes Count neighbours, a vector of T or one
//   void finish<Threads>(row) const     called by all threads when all of the row was put
// This one stores them; out may be x.
template <class T>
struct StoreRow {
  T* out;
  int64_t columns;

  template <int Threads>
  __device__ __forceinline__ void prefetch() const {}

  template <int Count>
  __device__ __forceinline__ void put(int64_t row, int64_t column, const float (&y)[Count]) const {
    T* to = out + row * columns + column;
    if constexpr (Count == kVectorSize<T>) {
      Vector<T> result;
#pragma unroll
      for (int i = 0; i < Count; ++i) result.value[i] = from_float<T>(y[i]);
      store_vector(to, result);
    } else {
#pragma unroll
      for (int i = 0; i < Count; ++i) to[i] = from_float<T>(y[i]);
    }
  }

  template <int Threads>
  __device__ __forceinline__ void finish(int64_t) const {}
};

// Count consecutive elements of a weight or bias, aligned to 16 bytes.
template <int Count>
__device__ __forceinline__ void load_floats(float (&to)[Count], const void* data, DType dtype,
                                            int64_t index) {
  const auto convert = [&](auto zero) {
    using T = decltype(zero);
    constexpr int kLoads = Count * sizeof(T) >= 16 ? Count / kVectorSize<T> : 1;
    constexpr int kPerLoad = Count / kLoads;
    struct alignas(kPerLoad * sizeof(T)) Piece {
      T value[kPerLoad];
    };
#pragma unroll
    for (int load = 0; load < kLoads; ++load) {
      const Piece piece = reinterpret_cast<const Piece*>(static_cast<const T*>(data) + index)[load];
#pragma unroll
      for (int i = 0; i < kPerLoad; ++i) to[load * kPerLoad + i] = to_float(piece.value[i]);
    }
  };
  if (dtype == DType::F16) {
    convert(__half{});
  } else if (dtype == DType::BF16) {
    convert(__nv_bfloat16{});
  } else {
    convert(float{});
  }
}

// The row stays in registers: one read, one write. Threads * Vectors vectors cover it.
template <Norm Kind, class T, int Threads, int Vectors, class Sink>
__global__ void __launch_bounds__(Threads) row_norm_kernel(const RowNorm<T> norm, const Sink sink) {
  constexpr int kWidth = kVectorSize<T>;
  __shared__ float scratch[2][Threads / 32];
  const int64_t start = static_cast<int64_t>(blockIdx.x) * norm.columns;
  const auto column_of = [&](int vector) {
    return (static_cast<int64_t>(vector) * Threads + threadIdx.x) * kWidth;
  };

  start_successor();
  // Weights are cold in every step: their way into L2 overlaps the end of the kernel before. They
  // are read only after the wait, since that kernel may have made them.
#pragma unroll
  for (int v = 0; v < Vectors; ++v) {
    if (column_of(v) >= norm.columns) continue;
    prefetch(norm.weight, norm.weight_dtype, column_of(v));
    prefetch(norm.bias, norm.weight_dtype, column_of(v));
  }
  sink.template prefetch<Threads>();
  wait_for_predecessor();

  // All loads start before the first value is used.
  Vector<T> x[Vectors], total[Vectors];
#pragma unroll
  for (int v = 0; v < Vectors; ++v) {
    x[v] = total[v] = Vector<T>{};
    if (column_of(v) >= norm.columns) continue;
    x[v] = load_vector(norm.x + start + column_of(v));
    if (norm.residual) {
      total[v] = load_vector(static_cast<const T*>(norm.residual + start + column_of(v)));
    }
  }
  float scale[kWidth], shift[kWidth];
  const auto load_weights = [&](int64_t column) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) scale[i] = 1.0f, shift[i] = 0.0f;
    if (column >= norm.columns) return;
    if (norm.weight) load_floats(scale, norm.weight, norm.weight_dtype, column);
    if (norm.bias) load_floats(shift, norm.bias, norm.weight_dtype, column);
  };
  // Ahead of the reductions where registers allow.
  if constexpr (Vectors == 1) load_weights(column_of(0));

  float value[Vectors][kWidth];
  float sum = 0.0f;
#pragma unroll
  for (int v = 0; v < Vectors; ++v) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) value[v][i] = to_float(x[v].value[i]);
    if (norm.residual && column_of(v) < norm.columns) {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        total[v].value[i] = from_float<T>(to_float(total[v].value[i]) + value[v][i]);
        value[v][i] = to_float(total[v].value[i]);
      }
      store_vector(norm.residual + start + column_of(v), total[v]);
    }
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      sum += Kind == Norm::Layer ? value[v][i] : value[v][i] * value[v][i];
    }
  }
  sum = block_reduce<Threads>(sum, Sum{}, scratch[0]);

  const float columns = static_cast<float>(norm.columns);
  float mean = 0.0f;
  if constexpr (Kind == Norm::Layer) {
    mean = sum / columns;
    sum = 0.0f;
#pragma unroll
    for (int v = 0; v < Vectors; ++v) {
      if (column_of(v) >= norm.columns) continue;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        value[v][i] -= mean;
        sum += value[v][i] * value[v][i];
      }
    }
    sum = block_reduce<Threads>(sum, Sum{}, scratch[1]);
  }
  const float inverse = rsqrtf(sum / columns + norm.eps);

#pragma unroll
  for (int v = 0; v < Vectors; ++v) {
    const int64_t column = column_of(v);
    if (column >= norm.columns) continue;
    if constexpr (Vectors > 1) load_weights(column);
    float y[kWidth];
#pragma unroll
    for (int i = 0; i < kWidth; ++i) y[i] = value[v][i] * inverse * scale[i] + shift[i];
    sink.put(blockIdx.x, column, y);
  }
  sink.template finish<Threads>(blockIdx.x);
}

// Any width and alignment: element by element, the row read once per pass.
template <Norm Kind, class T, class Sink>
__global__ void __launch_bounds__(512) any_row_norm_kernel(const RowNorm<T> norm, const Sink sink) {
  constexpr int kThreads = 512;
  __shared__ float scratch[2][kThreads / 32];
  const int64_t start = static_cast<int64_t>(blockIdx.x) * norm.columns;
  start_successor();
  wait_for_predecessor();

  float sum = 0.0f;
  for (int64_t column = threadIdx.x; column < norm.columns; column += kThreads) {
    T value = norm.x[start + column];
    if (norm.residual) {
      value = from_float<T>(to_float(norm.residual[start + column]) + to_float(value));
      norm.residual[start + column] = value;
    }
    const float v = to_float(value);
    sum += Kind == Norm::Layer ? v : v * v;
  }
  sum = block_reduce<kThreads>(sum, Sum{}, scratch[0]);

  // Each thread reads again only what it wrote or what nobody has written yet: out may be x.
  const T* values = norm.residual ? norm.residual : norm.x;
  const float columns = static_cast<float>(norm.columns);
  float mean = 0.0f;
  if constexpr (Kind == Norm::Layer) {
    mean = sum / columns;
    sum = 0.0f;
    for (int64_t column = threadIdx.x; column < norm.columns; column += kThreads) {
      const float centred = to_float(values[start + column]) - mean;
      sum += centred * centred;
    }
    sum = block_reduce<kThreads>(sum, Sum{}, scratch[1]);
  }
  const float inverse = rsqrtf(sum / columns + norm.eps);
  for (int64_t column = threadIdx.x; column < norm.columns; column += kThreads) {
    const float centred = to_float(values[start + column]) - mean;
    const float y[1] = {centred * inverse * norm.scale_at(column) + norm.shift_at(column)};
    sink.put(blockIdx.x, column, y);
  }
  sink.template finish<kThreads>(blockIdx.x);
}

// aligned: whether vectors of T may be put. shared_bytes: of the sink.
template <Norm Kind, class T, class Sink>
void run_row_norm(const char* name, Context& context, int64_t rows, const RowNorm<T>& norm,
                  const Sink& sink, size_t shared_bytes = 0, bool aligned = true) {
  if (rows <= 0 || norm.columns <= 0) return;
  Launch config{.name = name,
                .grid = dim3(static_cast<unsigned>(rows)),
                .shared_bytes = shared_bytes,
                .overlap = true};
  const auto go = [&](void (*kernel)(RowNorm<T>, Sink), unsigned threads) {
    config.block = dim3(threads);
    launch(config, context, kernel, norm, sink);
  };
  for (const void* data : {static_cast<const void*>(norm.x),
                           static_cast<const void*>(norm.residual), norm.weight, norm.bias}) {
    aligned = aligned && vector_aligned(data, norm.columns, sizeof(T));
  }
  const int64_t vectors = norm.columns / kVectorSize<T>;
  if (!aligned || vectors > 4096) return go(any_row_norm_kernel<Kind, T, Sink>, 512);
  if (vectors <= 128) return go(row_norm_kernel<Kind, T, 128, 1, Sink>, 128);
  if (vectors <= 512) return go(row_norm_kernel<Kind, T, 512, 1, Sink>, 512);
  if (vectors <= 1024) return go(row_norm_kernel<Kind, T, 1024, 1, Sink>, 1024);
  if (vectors <= 2048) return go(row_norm_kernel<Kind, T, 512, 4, Sink>, 512);
  go(row_norm_kernel<Kind, T, 1024, 4, Sink>, 1024);
}

// The same into out, of the dtype of x; may be x.
template <Norm Kind, class T>
void run_row_norm(const char* name, Context& context, int64_t rows, const RowNorm<T>& norm,
                  T* out) {
  run_row_norm<Kind>(name, context, rows, norm, StoreRow<T>{out, norm.columns}, 0,
                     vector_aligned(out, norm.columns, sizeof(T)));
}

}  // namespace fewbit::cuda
