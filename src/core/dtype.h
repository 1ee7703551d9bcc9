// Element types of tensors. The values are part of the back-end ABI.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fewbit {

enum class DType : int32_t { F32 = 0, F16 = 1, BF16 = 2, I8 = 3, U8 = 4, I32 = 5, I64 = 6 };

constexpr size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::F32:
    case DType::I32:
      return 4;
    case DType::F16:
    case DType::BF16:
      return 2;
    case DType::I64:
      return 8;
    default:
      return 1;
  }
}

constexpr const char* name_of(DType dtype) {
  constexpr const char* names[] = {"f32", "f16", "bf16", "i8", "u8", "i32", "i64"};
  return names[static_cast<int32_t>(dtype)];
}

constexpr bool is_float(DType dtype) { return dtype <= DType::BF16; }

}  // namespace fewbit
