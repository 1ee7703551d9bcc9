#include "doctor.h"

#include "../cpu/cpu_backend.h"
#include "../cpu/cpu_op.h"
#include "../cpu/kernels.h"
#include "../cuda/cuda_library.h"
#include "addon_data.h"

namespace fewbit {

namespace {

std::string version(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

Napi::Object describe_device(Napi::Env env, int index, const CudaDeviceInfo& info) {
  Napi::Object device = Napi::Object::New(env);
  device.Set("index", index);
  device.Set("name", info.name);
  device.Set("computeCapability", std::to_string(info.major) + "." + std::to_string(info.minor));
  device.Set("totalBytes", static_cast<double>(info.total_bytes));
  device.Set("driverVersion", version(info.driver_version));
  device.Set("runtimeVersion", version(info.runtime_version));
  return device;
}

Napi::Object describe_cuda(Napi::Env env) {
  const CudaLibrary& library = CudaLibrary::instance();
  Napi::Object cuda = Napi::Object::New(env);
  Napi::Array devices = Napi::Array::New(env);
  for (uint32_t i = 0; i < library.devices().size(); ++i) {
    devices.Set(i, describe_device(env, static_cast<int>(i), library.devices()[i]));
  }
  cuda.Set("devices", devices);
  if (library.loaded()) {
    cuda.Set("library", library.path());
    cuda.Set("cublasLt", library.cublaslt_report());
  }
  if (!library.reason().empty()) cuda.Set("reason", library.reason());
  return cuda;
}

Napi::Object describe_cpu(Napi::Env env) {
  Napi::Object cpu = Napi::Object::New(env);
  cpu.Set("isa", cpu::cpu_isa());
  Napi::Array features = Napi::Array::New(env);
  for (const std::string& feature : cpu::cpu_features()) features.Set(features.Length(), feature);
  cpu.Set("features", features);
  cpu.Set("threads", CpuBackend::default_threads());
  return cpu;
}

}  // namespace

Napi::Value doctor(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    Napi::Object report = Napi::Object::New(info.Env());
    report.Set("cpu", describe_cpu(info.Env()));
    report.Set("cuda", describe_cuda(info.Env()));
    return report;
  });
}

Napi::Value operations(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const CudaLibrary& library = CudaLibrary::instance();
    Napi::Array cpu = Napi::Array::New(info.Env());
    Napi::Array cuda = Napi::Array::New(info.Env());
    for (const CpuOp* op : CpuOp::all()) {
      cpu.Set(cpu.Length(), op->spec.name);
      if (library.loaded() && library.table().op_index(op->spec.name) >= 0) {
        cuda.Set(cuda.Length(), op->spec.name);
      }
    }
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("cpu", cpu);
    result.Set("cuda", cuda);
    return result;
  });
}

}  // namespace fewbit
