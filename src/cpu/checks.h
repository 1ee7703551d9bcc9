// Errors that CPU ops share.
#pragma once

#include <initializer_list>

#include "../core/op_spec.h"

namespace fewbit::cpu {

// Throws Error("ERR_FEWBIT_DTYPE") unless each of these tensors is f32 (or absent).
void require_f32(const OpSpec& spec, const OpCall& call, std::initializer_list<int> tensors);

// Throws Error("ERR_FEWBIT_DTYPE") unless each of these tensors is of a float type (or absent).
void require_float(const OpSpec& spec, const OpCall& call, std::initializer_list<int> tensors);

// Throws Error("ERR_FEWBIT_RANGE") unless low <= value < high. Element index of tensor held value.
void require_range(const OpSpec& spec, int tensor, int64_t index, int64_t value, int64_t low,
                   int64_t high);

}  // namespace fewbit::cpu
