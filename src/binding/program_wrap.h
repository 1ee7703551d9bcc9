#pragma once

#include <memory>

#include "../core/program.h"
#include "wrap.h"

namespace fewbit {

class ProgramWrap : public Wrap<ProgramWrap, std::shared_ptr<Program>> {
 public:
  static constexpr const char* kName = "program";
  static constexpr napi_type_tag kTag{0x66657762697403, 0x70726f6772616d};
  static Napi::FunctionReference& constructor(AddonData& data) { return data.program_class; }
  static void define(Napi::Env env, AddonData& data);

  using Wrap::Wrap;

 private:
  friend class Wrap<ProgramWrap, std::shared_ptr<Program>>;
  Napi::Value operations(const Napi::CallbackInfo& info);
  Napi::Value arena_bytes(const Napi::CallbackInfo& info);
};

class RecorderWrap : public Wrap<RecorderWrap, std::shared_ptr<Recorder>> {
 public:
  static constexpr const char* kName = "recorder";
  static constexpr napi_type_tag kTag{0x66657762697404, 0x7265636f72646572};
  static Napi::FunctionReference& constructor(AddonData& data) { return data.recorder_class; }
  static void define(Napi::Env env, AddonData& data);

  using Wrap::Wrap;

 private:
  friend class Wrap<RecorderWrap, std::shared_ptr<Recorder>>;
  Napi::Value tensor(const Napi::CallbackInfo& info);
  void run(const Napi::CallbackInfo& info);
  Napi::Value finish(const Napi::CallbackInfo& info);
};

}  // namespace fewbit
