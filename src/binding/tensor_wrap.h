#pragma once

#include "../core/tensor.h"
#include "wrap.h"

namespace fewbit {

class TensorWrap : public Wrap<TensorWrap, Tensor> {
 public:
  static constexpr const char* kName = "tensor";
  static constexpr napi_type_tag kTag{0x66657762697401, 0x74656e736f72};
  static Napi::FunctionReference& constructor(AddonData& data) { return data.tensor_class; }
  static void define(Napi::Env env, AddonData& data);

  using Wrap::Wrap;

 private:
  friend class Wrap<TensorWrap, Tensor>;
  Napi::Value dtype(const Napi::CallbackInfo& info);
  Napi::Value shape(const Napi::CallbackInfo& info);
  Napi::Value byte_length(const Napi::CallbackInfo& info);
  Napi::Value view(const Napi::CallbackInfo& info);
};

}  // namespace fewbit
