// Tensor maps for the bulk copy engine (TMA) of sm_90.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace fewbit::cuda {

// A row-major byte matrix [rows, row_bytes] of which boxes of box_rows x 128 bytes are copied, with
// the 128-byte swizzle (16-byte chunk index XOR row mod 8). Bytes outside read as zeros. row_bytes
// is a multiple of 16, data 16-byte aligned, box_rows at most 256. Throws when the driver refuses.
CUtensorMap byte_matrix_map(const void* data, int64_t rows, int64_t row_bytes, int box_rows);

}  // namespace fewbit::cuda
