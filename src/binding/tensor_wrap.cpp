#include "tensor_wrap.h"

#include "convert.h"

namespace fewbit {

void TensorWrap::define(Napi::Env env, AddonData& data) {
  data.tensor_class =
      Napi::Persistent(DefineClass(env, "NativeTensor",
                                   {
                                       InstanceAccessor<&TensorWrap::dtype>("dtype"),
                                       InstanceAccessor<&TensorWrap::shape>("shape"),
                                       InstanceAccessor<&TensorWrap::byte_length>("byteLength"),
                                       InstanceMethod<&TensorWrap::view>("view"),
                                       InstanceMethod("dispose", &TensorWrap::dispose),
                                   }));
}

Napi::Value TensorWrap::dtype(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return Napi::String::New(info.Env(), name_of(held().dtype)); });
}

Napi::Value TensorWrap::shape(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return from_integers(info.Env(), held().shape); });
}

Napi::Value TensorWrap::byte_length(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return Napi::Number::New(info.Env(), static_cast<double>(held().bytes()));
  });
}

Napi::Value TensorWrap::view(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return make(info.Env(),
                held().window(to_integer(info[0], "offset"), to_integers(info[1], "shape"),
                              to_integers(info[2], "strides")));
  });
}

}  // namespace fewbit
