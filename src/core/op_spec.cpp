#include "op_spec.h"

namespace fewbit {

namespace {

std::string join(const int64_t* values, int count) {
  std::string text = "[";
  for (int i = 0; i < count; ++i) {
    if (i) text += ", ";
    text += values[i] < 0 ? "*" : std::to_string(values[i]);
  }
  return text + "]";
}

}  // namespace

std::string describe(const TensorView& view) {
  if (!view) return "none";
  return std::string(name_of(view.dtype)) + join(view.shape, view.rank);
}

void Checker::fail(const char* code, const std::string& message) const {
  std::string text = std::string(spec_.name) + ": " + message + " (";
  for (size_t i = 0; i < spec_.tensors.size(); ++i) {
    if (i) text += ", ";
    text += std::string(spec_.tensors[i].name) + " " + describe(call_[static_cast<int>(i)]);
  }
  throw Error(code, text + ")");
}

const Checker& Checker::shape(int tensor, std::initializer_list<int64_t> shape) const {
  const TensorView& view = call_[tensor];
  if (!view) return *this;
  bool matches = view.rank == static_cast<int32_t>(shape.size());
  int i = 0;
  for (int64_t extent : shape) {
    if (!matches) break;
    matches = extent < 0 || view.shape[i] == extent;
    ++i;
  }
  if (!matches) {
    fail("ERR_FEWBIT_SHAPE", std::string(spec_.tensors[tensor].name) + " must have shape " +
                                 join(shape.begin(), static_cast<int>(shape.size())));
  }
  return *this;
}

const Checker& Checker::contiguous(int tensor) const {
  const TensorView& view = call_[tensor];
  if (view && !view.contiguous()) {
    fail("ERR_FEWBIT_SHAPE", std::string(spec_.tensors[tensor].name) + " must be contiguous");
  }
  return *this;
}

const Checker& Checker::dtype(int tensor, std::initializer_list<DType> allowed) const {
  const TensorView& view = call_[tensor];
  if (!view) return *this;
  std::string names;
  for (DType dtype : allowed) {
    if (view.dtype == dtype) return *this;
    names += (names.empty() ? "" : " or ") + std::string(name_of(dtype));
  }
  fail("ERR_FEWBIT_DTYPE", std::string(spec_.tensors[tensor].name) + " must be " + names);
}

const Checker& Checker::same_dtype(int tensor, int as) const {
  if (call_[tensor] && call_[as] && call_[tensor].dtype != call_[as].dtype) {
    fail("ERR_FEWBIT_DTYPE", std::string(spec_.tensors[tensor].name) + " must have the dtype of " +
                                 spec_.tensors[as].name);
  }
  return *this;
}

const Checker& Checker::require(bool condition, const std::string& expectation) const {
  if (!condition) fail("ERR_FEWBIT_SHAPE", expectation);
  return *this;
}

}  // namespace fewbit
