#include "tensor_map.h"

#include <cuda_runtime.h>

#include <string>

#include "context.h"

namespace fewbit::cuda {

namespace {

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

// Through the runtime, because nothing here links against the driver's library.
EncodeTiled find_encode_tiled() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                         cudaEnableDefault, &found),
        "finding cuTensorMapEncodeTiled");
  if (found != cudaDriverEntryPointSuccess || !function) {
    throw Error("ERR_FEWBIT_CUDA",
                "the driver has no cuTensorMapEncodeTiled: update it to 580 or newer");
  }
  return reinterpret_cast<EncodeTiled>(function);
}

CUtensorMapSwizzle swizzle_of(int box_bytes) {
  switch (box_bytes) {
    case 128:
      return CU_TENSOR_MAP_SWIZZLE_128B;
    case 64:
      return CU_TENSOR_MAP_SWIZZLE_64B;
    case 32:
      return CU_TENSOR_MAP_SWIZZLE_32B;
    default:
      return CU_TENSOR_MAP_SWIZZLE_NONE;
  }
}

}  // namespace

CUtensorMap byte_matrix_map(const void* data, int64_t rows, int64_t row_bytes, int box_rows,
                            int box_bytes) {
  static const EncodeTiled encode = find_encode_tiled();
  CUtensorMap map;
  const cuuint64_t extents[] = {static_cast<cuuint64_t>(row_bytes), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(row_bytes)};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(box_bytes), static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[] = {1, 1};
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, const_cast<void*>(data), extents, strides, box,
             steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle_of(box_bytes),
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw Error("ERR_FEWBIT_CUDA", "encoding a tensor map of " + std::to_string(rows) +
                                       " rows of " + std::to_string(row_bytes) +
                                       " bytes failed (driver error " +
                                       std::to_string(static_cast<int>(result)) + ")");
  }
  return map;
}

}  // namespace fewbit::cuda
