// What one JavaScript environment (the main thread or a worker) keeps of the addon.
#pragma once

#include <napi.h>

#include <functional>

#include "../core/error.h"

namespace fewbit {

struct AddonData {
  Napi::FunctionReference tensor_class;
  Napi::FunctionReference recorder_class;
  Napi::FunctionReference program_class;
  Napi::FunctionReference file_class;
  Napi::FunctionReference device_class;
  // The TypeScript class that native errors become; constructed with (code, message).
  Napi::FunctionReference error_class;

  static AddonData& of(Napi::Env env) { return *env.GetInstanceData<AddonData>(); }
};

// The JavaScript error for a native one.
Napi::Value to_js_error(Napi::Env env, const Error& error);

// Runs body and turns what it throws into a JavaScript exception.
template <class Body>
auto guarded(Napi::Env env, Body body) -> decltype(body()) {
  try {
    return body();
  } catch (const Error& error) {
    throw Napi::Error(env, to_js_error(env, error));
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Napi::Error(env, to_js_error(env, Error("ERR_FEWBIT_INTERNAL", error.what())));
  }
}

}  // namespace fewbit
