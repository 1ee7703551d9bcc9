// From JavaScript values to native ones. Everything here throws Error("ERR_FEWBIT_ARGUMENT") on a
// value of the wrong kind, so that no caller mistake can reach memory.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>
#include <vector>

#include "../core/dtype.h"

namespace fewbit {

std::string to_string(const Napi::Value& value, const char* what);
DType to_dtype(const Napi::Value& value);
int64_t to_integer(const Napi::Value& value, const char* what);
std::vector<int64_t> to_integers(const Napi::Value& value, const char* what);
std::vector<double> to_numbers(const Napi::Value& value, const char* what);
Napi::Array to_array(const Napi::Value& value, const char* what);
Napi::Object to_object(const Napi::Value& value, const char* what);

// The bytes behind an ArrayBufferView. They stay valid as long as the value is referenced and not
// detached; memory shared between threads (SharedArrayBuffer) is refused.
struct Bytes {
  uint8_t* data;
  size_t size;
};
Bytes to_bytes(const Napi::Value& value, const char* what);

Napi::Array from_integers(Napi::Env env, const std::vector<int64_t>& values);

}  // namespace fewbit
