// A JavaScript object that holds a native value, safe against foreign objects and use after dispose.
#pragma once

#include <napi.h>

#include <optional>
#include <string>

#include "addon_data.h"

namespace fewbit {

// Self is the derived class, with: static constexpr const char* kName, static constexpr napi_type_tag kTag,
// and static Napi::FunctionReference& constructor(AddonData&). Value is what it holds.
template <class Self, class Value>
class Wrap : public Napi::ObjectWrap<Self> {
 public:
  explicit Wrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Self>(info) {
    info.This().As<Napi::Object>().TypeTag(&Self::kTag);
  }

  static Napi::Object make(Napi::Env env, Value value) {
    Napi::Object object = Self::constructor(AddonData::of(env)).New({});
    Napi::ObjectWrap<Self>::Unwrap(object)->value_ = std::move(value);
    return object;
  }

  // The native value behind a JavaScript one; throws when it is of another kind or disposed.
  static Value& get(const Napi::Value& value) {
    if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&Self::kTag)) {
      throw Error("ERR_FEWBIT_ARGUMENT", std::string("expected a native ") + Self::kName);
    }
    return Napi::ObjectWrap<Self>::Unwrap(value.As<Napi::Object>())->held();
  }

 protected:
  Value& held() {
    if (!value_) {
      throw Error("ERR_FEWBIT_DISPOSED",
                  std::string("this native ") + Self::kName + " was disposed");
    }
    return *value_;
  }
  void dispose(const Napi::CallbackInfo&) { value_.reset(); }

  std::optional<Value> value_;
};

}  // namespace fewbit
