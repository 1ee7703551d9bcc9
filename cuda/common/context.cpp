#include "context.h"

#include <cstdio>

namespace fewbit::cuda {

namespace {

// What a user can do about an error, or an empty string where CUDA's own text says it all.
const char* advice(cudaError_t error) {
  switch (error) {
    case cudaErrorInsufficientDriver:
      return "the NVIDIA driver is missing or older than this library needs: install driver 580 or "
             "newer (CUDA 13), or use device 'cpu'";
    case cudaErrorNoDevice:
      return "no NVIDIA GPU is visible: check nvidia-smi and CUDA_VISIBLE_DEVICES, or use device "
             "'cpu'";
    case cudaErrorCompatNotSupportedOnDevice:
      return "a CUDA forward-compatibility libcuda is loaded, which this GPU or kernel driver does "
             "not support: remove the cuda-compat folder from LD_LIBRARY_PATH or update the driver";
    case cudaErrorSystemDriverMismatch:
      return "libcuda and the kernel driver have different versions: finish the driver update or "
             "restart the machine";
    case cudaErrorSystemNotReady:
      return "the driver's services are not ready: check nvidia-fabricmanager on NVSwitch machines";
    case cudaErrorNoKernelImageForDevice:
      return "this library holds no machine code for this GPU: it is built for compute capability "
             "8.0, 8.6, 8.9, 9.0, 10.0 and 12.0";
    case cudaErrorInvalidDevice:
      return "no GPU has this index: check nvidia-smi and CUDA_VISIBLE_DEVICES";
    case cudaErrorDevicesUnavailable:
      return "another process holds the GPU exclusively";
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorMisalignedAddress:
    case cudaErrorAssert:
      return "the GPU context is lost: dispose of everything on this device and restart the "
             "process";
    case cudaErrorStreamCaptureUnsupported:
    case cudaErrorStreamCaptureInvalidated:
    case cudaErrorStreamCaptureImplicit:
      return "the operation cannot be recorded into a CUDA graph: run it eagerly first";
    default:
      return "";
  }
}

std::string out_of_memory_text() {
  size_t free_bytes = 0, total_bytes = 0;
  if (cudaMemGetInfo(&free_bytes, &total_bytes) != cudaSuccess) {
    (void)cudaGetLastError();
    return "";
  }
  char text[160];
  std::snprintf(text, sizeof(text), ": %zu of %zu bytes (%.1f of %.1f GiB) of GPU memory are free",
                free_bytes, total_bytes, static_cast<double>(free_bytes) / (1u << 30),
                static_cast<double>(total_bytes) / (1u << 30));
  return text;
}

}  // namespace

void check(cudaError_t error, const char* attempted) {
  if (error == cudaSuccess) return;
  (void)cudaGetLastError();  // an error that was reported must not surface again later
  const std::string what = std::string(attempted) + " failed: " + cudaGetErrorString(error) +
                           " (CUDA error " + std::to_string(static_cast<int>(error)) + ", " +
                           cudaGetErrorName(error) + ")";
  if (error == cudaErrorMemoryAllocation) {
    throw Error("ERR_FEWBIT_OUT_OF_MEMORY",
                what + out_of_memory_text() +
                    "; free other models, use a smaller cache or batch, or fewer bits per weight");
  }
  const char* remedy = advice(error);
  throw Error("ERR_FEWBIT_CUDA", *remedy ? what + "; " + remedy : what);
}

}  // namespace fewbit::cuda
