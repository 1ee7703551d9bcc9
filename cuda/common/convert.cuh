// Element types on the device: conversion to and from float, and 16-byte vectors of them.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <string>

#include "../../src/core/abi.h"
#include "../../src/core/error.h"

namespace fewbit::cuda {

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(__half value) { return __half2float(value); }
__device__ __forceinline__ float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

// Rounds to nearest even. from_float<T>(to_float(v)) is v.
template <class T>
__device__ __forceinline__ T from_float(float value);
template <>
__device__ __forceinline__ float from_float<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ __half from_float<__half>(float value) {
  return __float2half_rn(value);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

// Elements of T in 16 bytes.
template <class T>
constexpr int kVectorSize = 16 / sizeof(T);

// 16 bytes of T, moved by one instruction. Addresses are 16-byte aligned.
template <class T>
struct alignas(16) Vector {
  T value[kVectorSize<T>];
};

template <class T>
__device__ __forceinline__ Vector<T> load_vector(const T* from) {
  return *reinterpret_cast<const Vector<T>*>(from);
}

template <class T>
__device__ __forceinline__ void store_vector(T* to, const Vector<T>& vector) {
  *reinterpret_cast<Vector<T>*>(to) = vector;
}

// A float tensor's element whatever its dtype, for operands that are too small to specialise for.
__device__ __forceinline__ float load_float(const void* data, DType dtype, int64_t index) {
  switch (dtype) {
    case DType::F16:
      return to_float(static_cast<const __half*>(data)[index]);
    case DType::BF16:
      return to_float(static_cast<const __nv_bfloat16*>(data)[index]);
    default:
      return static_cast<const float*>(data)[index];
  }
}

__device__ __forceinline__ void store_float(void* data, DType dtype, int64_t index, float value) {
  switch (dtype) {
    case DType::F16:
      static_cast<__half*>(data)[index] = from_float<__half>(value);
      break;
    case DType::BF16:
      static_cast<__nv_bfloat16*>(data)[index] = from_float<__nv_bfloat16>(value);
      break;
    default:
      static_cast<float*>(data)[index] = value;
  }
}

// Rounds to a 16-bit dtype (or f32: no change) and back.
__device__ __forceinline__ float round_to(DType dtype, float value) {
  switch (dtype) {
    case DType::F16:
      return to_float(from_float<__half>(value));
    case DType::BF16:
      return to_float(from_float<__nv_bfloat16>(value));
    default:
      return value;
  }
}

// Whether rows of row_elements elements of size element_bytes can be moved 16 bytes at a time.
inline bool vector_aligned(const void* data, int64_t row_elements, size_t element_bytes) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 &&
         row_elements * static_cast<int64_t>(element_bytes) % 16 == 0;
}

// Calls body with a value of the C++ type of a float dtype:
//   with_float(dtype, [&](auto zero) { launch<decltype(zero)>(...); });
template <class Body>
void with_float(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::F32:
      return body(float{});
    case DType::F16:
      return body(__half{});
    case DType::BF16:
      return body(__nv_bfloat16{});
    default:
      throw Error("ERR_FEWBIT_DTYPE",
                  std::string("a float tensor is needed, not ") + name_of(dtype));
  }
}

// The same for f16 and bf16 alone; what names the op and tensor in the error.
template <class Body>
void with_half(DType dtype, const char* what, Body&& body) {
  switch (dtype) {
    case DType::F16:
      return body(__half{});
    case DType::BF16:
      return body(__nv_bfloat16{});
    default:
      throw Error("ERR_FEWBIT_DTYPE", std::string(what) + " must be f16 or bf16 on CUDA, not " +
                                          name_of(dtype) + ": cast it first");
  }
}

}  // namespace fewbit::cuda
