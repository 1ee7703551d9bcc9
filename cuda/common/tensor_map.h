// Tensor maps for the bulk copy engine (TMA) of sm_90.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace fewbit::cuda {

// A row-major byte matrix [rows, row_bytes] of which boxes of box_rows x box_bytes are copied, with
// the swizzle of that width (16-byte chunk index XOR row mod 8 for 128 bytes, row / 2 mod 4 for 64,
// row / 4 mod 2 for 32, none for 16). Bytes outside read as zeros. row_bytes is a multiple of 16,
// data 16-byte aligned, box_rows at most 256. Throws when the driver refuses.
CUtensorMap byte_matrix_map(const void* data, int64_t rows, int64_t row_bytes, int box_rows,
                            int box_bytes = 128);

}  // namespace fewbit::cuda
