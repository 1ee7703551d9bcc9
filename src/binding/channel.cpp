#include "channel.h"

#include "addon_data.h"

namespace fewbit {

// The thread-safe function owns the channel: it is deleted in finalize, when nothing can be delivered any more.
Channel::Channel(Napi::Env env) : env_(env) {
  napi_value name = Napi::String::New(env, "fewbit device");
  const napi_status status =
      napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, this, &Channel::finalize,
                                      this, &Channel::deliver, &function_);
  if (status != napi_ok) throw Error("ERR_FEWBIT_INTERNAL", "cannot create a thread-safe function");
  napi_unref_threadsafe_function(env, function_);
}

void Channel::open_ticket() {
  if (open_++ == 0) napi_ref_threadsafe_function(env_, function_);
}

void Channel::settle(std::unique_ptr<JobTicket> ticket) {
  const napi_status status =
      napi_call_threadsafe_function(function_, ticket.get(), napi_tsfn_blocking);
  // Not delivered only when the environment is going away; its references then go with it.
  (void)status;
  (void)ticket.release();
}

void Channel::close() {
  if (closed_) return;
  closed_ = true;
  napi_release_threadsafe_function(function_, napi_tsfn_release);
}

void Channel::deliver(napi_env env, napi_value, void* context, void* data) {
  JobTicket* raw = static_cast<JobTicket*>(data);
  if (env == nullptr) return;  // the environment is going away, and its references with it
  Channel* self = static_cast<Channel*>(context);
  std::unique_ptr<JobTicket> ticket(raw);
  if (--self->open_ == 0 && !self->closed_) napi_unref_threadsafe_function(env, self->function_);
  Napi::Env js(env);
  // This is called from C, which no exception may pass through. They come when a worker is
  // terminated: nobody is left then to hear of the job.
  try {
    if (ticket->failure) {
      ticket->deferred.Reject(to_js_error(js, *ticket->failure));
    } else {
      ticket->deferred.Resolve(js.Undefined());
    }
  } catch (const Napi::Error&) {
  }
}

void Channel::finalize(napi_env, void* data, void*) { delete static_cast<Channel*>(data); }

}  // namespace fewbit
