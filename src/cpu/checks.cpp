#include "checks.h"

namespace fewbit::cpu {

void require_f32(const OpSpec& spec, const OpCall& call, std::initializer_list<int> tensors) {
  for (int tensor : tensors) {
    const TensorView& view = call[tensor];
    if (!view || view.dtype == DType::F32) continue;
    throw Error("ERR_FEWBIT_DTYPE", std::string(spec.name) + ": the CPU computes in f32, but " +
                                        spec.tensors[tensor].name + " is " + describe(view) +
                                        "; cast it to f32 first");
  }
}

void require_float(const OpSpec& spec, const OpCall& call, std::initializer_list<int> tensors) {
  for (int tensor : tensors) {
    const TensorView& view = call[tensor];
    if (!view || is_float(view.dtype)) continue;
    throw Error("ERR_FEWBIT_DTYPE", std::string(spec.name) + ": " + spec.tensors[tensor].name +
                                        " must be f32, f16 or bf16, not " + describe(view));
  }
}

void require_range(const OpSpec& spec, int tensor, int64_t index, int64_t value, int64_t low,
                   int64_t high) {
  if (value >= low && value < high) return;
  throw Error("ERR_FEWBIT_RANGE", std::string(spec.name) + ": " + spec.tensors[tensor].name + "[" +
                                      std::to_string(index) + "] is " + std::to_string(value) +
                                      ", which is not in " + std::to_string(low) + " .. " +
                                      std::to_string(high - 1));
}

}  // namespace fewbit::cpu
