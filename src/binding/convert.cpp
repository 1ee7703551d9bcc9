#include "convert.h"

#include <cmath>

#include "../core/error.h"

namespace fewbit {

namespace {

[[noreturn]] void expected(const std::string& what, const char* kind) {
  throw Error("ERR_FEWBIT_ARGUMENT", what + " must be " + kind);
}

}  // namespace

std::string to_string(const Napi::Value& value, const char* what) {
  if (!value.IsString()) expected(what, "a string");
  return value.As<Napi::String>().Utf8Value();
}

DType to_dtype(const Napi::Value& value) {
  const std::string name = to_string(value, "dtype");
  for (int i = 0; i <= static_cast<int>(DType::I64); ++i) {
    const DType dtype = static_cast<DType>(i);
    if (name == name_of(dtype)) return dtype;
  }
  expected("dtype '" + name + "'", "one of f32, f16, bf16, i8, u8, i32, i64");
}

int64_t to_integer(const Napi::Value& value, const char* what) {
  if (!value.IsNumber()) expected(what, "a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (number != std::floor(number) || std::fabs(number) > 9007199254740991.0) {
    expected(what, "a whole number");
  }
  return static_cast<int64_t>(number);
}

Napi::Array to_array(const Napi::Value& value, const char* what) {
  if (!value.IsArray()) expected(what, "an array");
  return value.As<Napi::Array>();
}

Napi::Object to_object(const Napi::Value& value, const char* what) {
  if (!value.IsObject()) expected(what, "an object");
  return value.As<Napi::Object>();
}

std::vector<int64_t> to_integers(const Napi::Value& value, const char* what) {
  Napi::Array array = to_array(value, what);
  std::vector<int64_t> result(array.Length());
  for (uint32_t i = 0; i < array.Length(); ++i) {
    result[i] = to_integer(static_cast<Napi::Value>(array[i]), what);
  }
  return result;
}

std::vector<double> to_numbers(const Napi::Value& value, const char* what) {
  Napi::Array array = to_array(value, what);
  std::vector<double> result(array.Length());
  for (uint32_t i = 0; i < array.Length(); ++i) {
    Napi::Value item = array[i];
    if (!item.IsNumber()) expected(what, "an array of numbers");
    result[i] = item.As<Napi::Number>().DoubleValue();
  }
  return result;
}

Bytes to_bytes(const Napi::Value& value, const char* what) {
  Napi::Value buffer;
  size_t offset = 0, size = 0;
  if (value.IsTypedArray()) {
    Napi::TypedArray array = value.As<Napi::TypedArray>();
    buffer = array.ArrayBuffer();
    offset = array.ByteOffset();
    size = array.ByteLength();
  } else if (value.IsDataView()) {
    Napi::DataView view = value.As<Napi::DataView>();
    buffer = view.ArrayBuffer();
    offset = view.ByteOffset();
    size = view.ByteLength();
  } else {
    expected(what, "a typed array or DataView");
  }
  if (!buffer.IsArrayBuffer()) expected(what, "over an ArrayBuffer, not a SharedArrayBuffer");
  uint8_t* data = static_cast<uint8_t*>(buffer.As<Napi::ArrayBuffer>().Data());
  return Bytes{data + offset, size};
}

Napi::Array from_integers(Napi::Env env, const std::vector<int64_t>& values) {
  Napi::Array array = Napi::Array::New(env, values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    array.Set(static_cast<uint32_t>(i), Napi::Number::New(env, static_cast<double>(values[i])));
  }
  return array;
}

}  // namespace fewbit
