#pragma once

#include <memory>

#include "../core/mapped_file.h"
#include "wrap.h"

namespace fewbit {

class FileWrap : public Wrap<FileWrap, std::shared_ptr<MappedFile>> {
 public:
  static constexpr const char* kName = "file";
  static constexpr napi_type_tag kTag{0x66657762697402, 0x66696c65};
  static Napi::FunctionReference& constructor(AddonData& data) { return data.file_class; }
  static void define(Napi::Env env, AddonData& data);

  using Wrap::Wrap;

 private:
  friend class Wrap<FileWrap, std::shared_ptr<MappedFile>>;
  Napi::Value path(const Napi::CallbackInfo& info);
  Napi::Value size(const Napi::CallbackInfo& info);
};

}  // namespace fewbit
