#include "file_wrap.h"

namespace fewbit {

void FileWrap::define(Napi::Env env, AddonData& data) {
  data.file_class = Napi::Persistent(DefineClass(env, "NativeFile",
                                                 {
                                                     InstanceAccessor<&FileWrap::path>("path"),
                                                     InstanceAccessor<&FileWrap::size>("size"),
                                                     InstanceMethod("dispose", &FileWrap::dispose),
                                                 }));
}

Napi::Value FileWrap::path(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return Napi::String::New(info.Env(), held()->path()); });
}

Napi::Value FileWrap::size(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return Napi::Number::New(info.Env(), static_cast<double>(held()->size()));
  });
}

}  // namespace fewbit
