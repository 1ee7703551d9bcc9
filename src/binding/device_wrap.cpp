#include "device_wrap.h"

#include "../cpu/cpu_backend.h"
#include "../cuda/cuda_backend.h"
#include "commands.h"
#include "convert.h"
#include "program_wrap.h"
#include "tensor_wrap.h"

namespace fewbit {

OpenDevice::OpenDevice(Napi::Env env, std::shared_ptr<Backend> backend)
    : env_(env),
      backend_(std::move(backend)),
      arena_(std::make_shared<Arena>(backend_)),
      queue_(std::make_unique<JobQueue>(backend_)),
      channel_(new Channel(env)) {
  napi_add_env_cleanup_hook(env, &OpenDevice::on_environment_end, this);
}

OpenDevice::~OpenDevice() { close(); }

void OpenDevice::close() {
  if (!open_) return;
  open_ = false;
  napi_remove_env_cleanup_hook(env_, &OpenDevice::on_environment_end, this);
  queue_.reset();
  channel_->close();
  arena_.reset();
  backend_->release_all();
}

void OpenDevice::on_environment_end(void* self) { static_cast<OpenDevice*>(self)->close(); }

void DeviceWrap::define(Napi::Env env, AddonData& data) {
  data.device_class =
      Napi::Persistent(DefineClass(env, "NativeDevice",
                                   {
                                       InstanceAccessor<&DeviceWrap::type>("type"),
                                       InstanceAccessor<&DeviceWrap::name>("name"),
                                       InstanceMethod<&DeviceWrap::allocate>("allocate"),
                                       InstanceMethod<&DeviceWrap::run>("run"),
                                       InstanceMethod<&DeviceWrap::write>("write"),
                                       InstanceMethod<&DeviceWrap::read>("read"),
                                       InstanceMethod<&DeviceWrap::record>("record"),
                                       InstanceMethod<&DeviceWrap::submit>("submit"),
                                       InstanceMethod<&DeviceWrap::memory>("memory"),
                                       InstanceMethod("dispose", &DeviceWrap::dispose),
                                   }));
}

Napi::Value DeviceWrap::open(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::string name = to_string(info[0], "device name");
    const int64_t threads = to_integer(info[1], "threads");
    std::shared_ptr<Backend> backend;
    if (name == "cpu") {
      backend = std::make_shared<CpuBackend>(static_cast<int>(threads));
    } else if (name == "cuda") {
      backend = std::make_shared<CudaBackend>(0);
    } else if (name.rfind("cuda:", 0) == 0 && name.size() > 5 && name.size() < 9 &&
               name.find_first_not_of("0123456789", 5) == std::string::npos) {
      backend = std::make_shared<CudaBackend>(std::stoi(name.substr(5)));
    } else {
      throw Error("ERR_FEWBIT_ARGUMENT", "unknown device '" + name + "'");
    }
    return make(info.Env(), std::make_unique<OpenDevice>(info.Env(), std::move(backend)));
  });
}

Napi::Value DeviceWrap::type(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&] { return Napi::String::New(info.Env(), held()->backend()->type()); });
}

Napi::Value DeviceWrap::name(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&] { return Napi::String::New(info.Env(), held()->backend()->name()); });
}

Napi::Value DeviceWrap::allocate(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const DType dtype = to_dtype(info[0]);
    std::vector<int64_t> shape = to_integers(info[1], "shape");
    const auto& backend = held()->backend();
    auto storage = std::make_shared<Storage>(backend, checked_bytes(dtype, shape));
    if (storage->bytes() > 0 && !backend->zeroes_memory()) {
      std::lock_guard<std::recursive_mutex> lock(backend->mutex());
      backend->clear(storage->data(), storage->bytes());
    }
    return TensorWrap::make(info.Env(), Tensor::make(std::move(storage), dtype, std::move(shape)));
  });
}

void DeviceWrap::run(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    Backend& backend = *held()->backend();
    EagerCall call(backend, info[0], info[1], info[2]);
    std::lock_guard<std::recursive_mutex> lock(backend.mutex());
    call.run();
  });
}

void DeviceWrap::write(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    Backend& backend = *held()->backend();
    const Tensor& tensor = TensorWrap::get(info[0]);
    const Bytes bytes = host_side(backend, tensor, info[1], "data");
    if (bytes.size == 0) return;
    std::lock_guard<std::recursive_mutex> lock(backend.mutex());
    backend.copy_in(tensor.view().data, bytes.data, bytes.size);
    backend.synchronize();
  });
}

void DeviceWrap::read(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    Backend& backend = *held()->backend();
    const Tensor& tensor = TensorWrap::get(info[0]);
    const Bytes bytes = host_side(backend, tensor, info[1], "into");
    if (bytes.size == 0) return;
    std::lock_guard<std::recursive_mutex> lock(backend.mutex());
    backend.copy_out(bytes.data, tensor.view().data, bytes.size);
  });
}

Napi::Value DeviceWrap::record(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    OpenDevice& device = *held();
    return RecorderWrap::make(info.Env(),
                              std::make_shared<Recorder>(device.backend(), device.arena()));
  });
}

Napi::Value DeviceWrap::submit(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    OpenDevice& device = *held();
    auto ticket = std::make_unique<JobTicket>(info.Env());
    Napi::Promise promise = ticket->deferred.Promise();
    Job job;
    job.steps = parse_commands(device.backend(), info[0], *ticket);
    Channel& channel = device.channel();
    channel.open_ticket();
    job.done = [&channel, raw = ticket.release()](std::optional<Error> failure) {
      std::unique_ptr<JobTicket> owned(raw);
      owned->failure = std::move(failure);
      channel.settle(std::move(owned));
    };
    device.queue().push(std::move(job));
    return promise;
  });
}

Napi::Value DeviceWrap::memory(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    Backend& backend = *held()->backend();
    size_t free_bytes = 0, total_bytes = 0;
    backend.memory(&free_bytes, &total_bytes);
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("used", static_cast<double>(backend.used()));
    object.Set("peak", static_cast<double>(backend.peak()));
    object.Set("free", static_cast<double>(free_bytes));
    object.Set("total", static_cast<double>(total_bytes));
    return object;
  });
}

}  // namespace fewbit
