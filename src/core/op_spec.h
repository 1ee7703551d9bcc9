// The declaration of an op: its tensors, its attributes, and the check back ends rely on.
#pragma once

#include <string>
#include <vector>

#include "abi.h"
#include "error.h"

namespace fewbit {

enum class Access { Read, Write, Update };

struct TensorSpec {
  const char* name;
  Access access;
  bool optional = false;
};

struct OpSpec {
  const char* name;
  std::vector<TensorSpec> tensors;
  std::vector<const char*> attrs;
  void (*check)(const OpCall& call);
};

// "f16[2, 3]", or "none" for an absent optional tensor.
std::string describe(const TensorView& view);

// Helpers for checks. Each throws Error("ERR_FEWBIT_SHAPE" or "ERR_FEWBIT_DTYPE") naming op,
// tensor, what was expected and what was found.
class Checker {
 public:
  Checker(const OpSpec& spec, const OpCall& call) : spec_(spec), call_(call) {}
  // -1 in shape stands for any extent. Rows may be spaced apart when the tensor is a matrix.
  const Checker& shape(int tensor, std::initializer_list<int64_t> shape) const;
  const Checker& contiguous(int tensor) const;
  const Checker& dtype(int tensor, std::initializer_list<DType> allowed) const;
  const Checker& same_dtype(int tensor, int as) const;
  const Checker& require(bool condition, const std::string& expectation) const;

 private:
  [[noreturn]] void fail(const char* code, const std::string& message) const;
  const OpSpec& spec_;
  const OpCall& call_;
};

}  // namespace fewbit
