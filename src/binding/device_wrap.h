#pragma once

#include <memory>

#include "../core/job_queue.h"
#include "../core/program.h"
#include "channel.h"
#include "wrap.h"

namespace fewbit {

// A back end with its queue, its arena and its way back to JavaScript. Closed by dispose, by the garbage
// collector, or when its environment ends, whichever comes first.
class OpenDevice {
 public:
  OpenDevice(Napi::Env env, std::shared_ptr<Backend> backend);
  ~OpenDevice();
  void close();

  const std::shared_ptr<Backend>& backend() const { return backend_; }
  const std::shared_ptr<Arena>& arena() const { return arena_; }
  JobQueue& queue() const { return *queue_; }
  Channel& channel() const { return *channel_; }

 private:
  static void on_environment_end(void* self);

  Napi::Env env_;
  std::shared_ptr<Backend> backend_;
  std::shared_ptr<Arena> arena_;
  std::unique_ptr<JobQueue> queue_;
  Channel* channel_;
  bool open_ = true;
};

class DeviceWrap : public Wrap<DeviceWrap, std::unique_ptr<OpenDevice>> {
 public:
  static constexpr const char* kName = "device";
  static constexpr napi_type_tag kTag{0x66657762697405, 0x646576696365};
  static Napi::FunctionReference& constructor(AddonData& data) { return data.device_class; }
  static void define(Napi::Env env, AddonData& data);
  // Opens 'cpu', 'cuda' or 'cuda:N'.
  static Napi::Value open(const Napi::CallbackInfo& info);

  using Wrap::Wrap;

 private:
  friend class Wrap<DeviceWrap, std::unique_ptr<OpenDevice>>;
  Napi::Value type(const Napi::CallbackInfo& info);
  Napi::Value name(const Napi::CallbackInfo& info);
  Napi::Value allocate(const Napi::CallbackInfo& info);
  void run(const Napi::CallbackInfo& info);
  void write(const Napi::CallbackInfo& info);
  void read(const Napi::CallbackInfo& info);
  Napi::Value record(const Napi::CallbackInfo& info);
  Napi::Value submit(const Napi::CallbackInfo& info);
  Napi::Value memory(const Napi::CallbackInfo& info);
};

}  // namespace fewbit
