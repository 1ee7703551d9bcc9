#include "program_wrap.h"

#include "convert.h"
#include "tensor_wrap.h"

namespace fewbit {

void ProgramWrap::define(Napi::Env env, AddonData& data) {
  data.program_class =
      Napi::Persistent(DefineClass(env, "NativeProgram",
                                   {
                                       InstanceAccessor<&ProgramWrap::operations>("operations"),
                                       InstanceAccessor<&ProgramWrap::arena_bytes>("arenaBytes"),
                                       InstanceMethod("dispose", &ProgramWrap::dispose),
                                   }));
}

Napi::Value ProgramWrap::operations(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return Napi::Number::New(info.Env(), static_cast<double>(held()->operations()));
  });
}

Napi::Value ProgramWrap::arena_bytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return Napi::Number::New(info.Env(), static_cast<double>(held()->arena_bytes()));
  });
}

void RecorderWrap::define(Napi::Env env, AddonData& data) {
  data.recorder_class =
      Napi::Persistent(DefineClass(env, "NativeRecorder",
                                   {
                                       InstanceMethod<&RecorderWrap::tensor>("tensor"),
                                       InstanceMethod<&RecorderWrap::run>("run"),
                                       InstanceMethod<&RecorderWrap::finish>("finish"),
                                       InstanceMethod("dispose", &RecorderWrap::dispose),
                                   }));
}

Napi::Value RecorderWrap::tensor(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return TensorWrap::make(info.Env(),
                            held()->tensor(to_dtype(info[0]), to_integers(info[1], "shape")));
  });
}

void RecorderWrap::run(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    Napi::Array array = to_array(info[1], "tensors");
    std::vector<const Tensor*> tensors;
    for (uint32_t i = 0; i < array.Length(); ++i) {
      Napi::Value item = array[i];
      tensors.push_back(item.IsNull() ? nullptr : &TensorWrap::get(item));
    }
    held()->run(to_string(info[0], "op"), tensors, to_numbers(info[2], "attrs"));
  });
}

Napi::Value RecorderWrap::finish(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return ProgramWrap::make(info.Env(), held()->finish()); });
}

}  // namespace fewbit
