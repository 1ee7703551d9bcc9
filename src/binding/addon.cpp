// The addon's entry: what lib/native.ts calls NativeAddon.
#include <napi.h>

#include "../core/mapped_file.h"
#include "addon_data.h"
#include "convert.h"
#include "device_wrap.h"
#include "doctor.h"
#include "file_wrap.h"
#include "program_wrap.h"
#include "tensor_wrap.h"

namespace fewbit {

Napi::Value to_js_error(Napi::Env env, const Error& error) {
  AddonData& data = AddonData::of(env);
  if (!data.error_class.IsEmpty()) {
    return data.error_class.New(
        {Napi::String::New(env, error.code()), Napi::String::New(env, error.what())});
  }
  Napi::Object plain = Napi::Error::New(env, error.what()).Value();
  plain.Set("code", error.code());
  return plain;
}

namespace {

Napi::Value open_file(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return FileWrap::make(info.Env(), std::make_shared<MappedFile>(to_string(info[0], "path")));
  });
}

void set_error_class(const Napi::CallbackInfo& info) {
  if (info[0].IsFunction()) {
    AddonData::of(info.Env()).error_class = Napi::Persistent(info[0].As<Napi::Function>());
  }
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* data = new AddonData();
  env.SetInstanceData(data);
  TensorWrap::define(env, *data);
  FileWrap::define(env, *data);
  ProgramWrap::define(env, *data);
  RecorderWrap::define(env, *data);
  DeviceWrap::define(env, *data);
  exports.Set("openDevice", Napi::Function::New<&DeviceWrap::open>(env, "openDevice"));
  exports.Set("openFile", Napi::Function::New<&open_file>(env, "openFile"));
  exports.Set("doctor", Napi::Function::New<&doctor>(env, "doctor"));
  exports.Set("operations", Napi::Function::New<&operations>(env, "operations"));
  exports.Set("setErrorClass", Napi::Function::New<&set_error_class>(env, "setErrorClass"));
  return exports;
}

}  // namespace
}  // namespace fewbit

Napi::Object Init(Napi::Env env, Napi::Object exports) { return fewbit::init(env, exports); }

NODE_API_MODULE(NODE_GYP_MODULE_NAME, Init)
