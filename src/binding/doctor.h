// What this machine offers, and why anything is not used.
#pragma once

#include <napi.h>

namespace fewbit {

Napi::Value doctor(const Napi::CallbackInfo& info);
Napi::Value operations(const Napi::CallbackInfo& info);

}  // namespace fewbit
