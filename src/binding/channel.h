// Brings finished jobs from a queue's threads to the JavaScript thread that submitted them.
#pragma once

#include <napi.h>

#include <memory>
#include <optional>
#include <vector>

#include "../core/error.h"

namespace fewbit {

// The JavaScript half of a job; made and destroyed on the JavaScript thread.
struct JobTicket {
  explicit JobTicket(Napi::Env env) : deferred(Napi::Promise::Deferred::New(env)) {}
  Napi::Promise::Deferred deferred;
  std::vector<Napi::ObjectReference> alive;  // arrays that the job reads or fills
  std::optional<Error> failure;
};

class Channel {
 public:
  explicit Channel(Napi::Env env);

  // JavaScript thread. While tickets are out, the event loop stays alive.
  void open_ticket();
  // Any thread, once per ticket.
  void settle(std::unique_ptr<JobTicket> ticket);
  // JavaScript thread, after the last settle: what is on its way is still delivered.
  void close();

 private:
  static void deliver(napi_env env, napi_value callback, void* context, void* data);
  static void finalize(napi_env env, void* data, void* hint);

  napi_env env_;
  napi_threadsafe_function function_ = nullptr;
  int open_ = 0;
  bool closed_ = false;
};

}  // namespace fewbit
