// The part of cuBLASLt's C interface that is used here, declared anew because the library is found
// at run time and its headers need not be there at build time. Names and values are those of NVIDIA's
// cuBLAS documentation ("Using the cuBLASLt API"), the same in majors 11, 12 and 13.
#pragma once

#include <cuda_runtime.h>
#include <library_types.h>

#include <cstddef>
#include <cstdint>

namespace fewbit::cuda::lt {

using Status = int;
constexpr Status kSuccess = 0;

struct OpaqueHandle;
struct OpaqueMatmulDesc;
struct OpaqueMatrixLayout;
struct OpaquePreference;
using Handle = OpaqueHandle*;
using MatmulDesc = OpaqueMatmulDesc*;
using MatrixLayout = OpaqueMatrixLayout*;
using Preference = OpaquePreference*;

struct Algorithm {
  uint64_t data[8];
};

struct HeuristicResult {
  Algorithm algorithm;
  size_t workspace_bytes;
  Status state;
  float waves;
  int reserved[4];
};
static_assert(sizeof(HeuristicResult) == 96);

enum ComputeType : int { kCompute32F = 68, kCompute32I = 72 };
enum MatmulAttribute : int { kTransA = 3, kTransB = 4, kEpilogue = 7, kBiasPointer = 8 };
enum Operation : int32_t { kOperationN = 0, kOperationT = 1 };
enum Epilogue : uint32_t {
  kEpilogueDefault = 1,
  kEpilogueRelu = 2,
  kEpilogueBias = 4,
  kEpilogueReluBias = 6
};
enum PreferenceAttribute : int {
  kMaxWorkspaceBytes = 1,
  kMinAlignmentA = 5,
  kMinAlignmentB = 6,
  kMinAlignmentC = 7,
  kMinAlignmentD = 8
};

struct Functions {
  size_t (*GetVersion)();
  const char* (*GetStatusString)(Status);  // null before 11.4
  Status (*Create)(Handle*);
  Status (*Destroy)(Handle);
  Status (*MatmulDescCreate)(MatmulDesc*, int compute_type, cudaDataType_t scale_type);
  Status (*MatmulDescDestroy)(MatmulDesc);
  Status (*MatmulDescSetAttribute)(MatmulDesc, int attribute, const void*, size_t);
  Status (*MatrixLayoutCreate)(MatrixLayout*, cudaDataType_t, uint64_t rows, uint64_t columns,
                               int64_t leading_dimension);
  Status (*MatrixLayoutDestroy)(MatrixLayout);
  Status (*MatmulPreferenceCreate)(Preference*);
  Status (*MatmulPreferenceDestroy)(Preference);
  Status (*MatmulPreferenceSetAttribute)(Preference, int attribute, const void*, size_t);
  Status (*MatmulAlgoGetHeuristic)(Handle, MatmulDesc, MatrixLayout a, MatrixLayout b,
                                   MatrixLayout c, MatrixLayout d, Preference, int requested,
                                   HeuristicResult*, int* returned);
  Status (*Matmul)(Handle, MatmulDesc, const void* alpha, const void* a, MatrixLayout,
                   const void* b, MatrixLayout, const void* beta, const void* c, MatrixLayout,
                   void* d, MatrixLayout, const Algorithm*, void* workspace, size_t workspace_bytes,
                   cudaStream_t);
};

}  // namespace fewbit::cuda::lt
