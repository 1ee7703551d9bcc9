#include <cstdio>

#include "guard.h"
#include "runtime.h"

namespace fewbit::cuda {

int device_count(int* count, Status* status) {
  return guard(status, [&] {
    *count = 0;
    check(cudaGetDeviceCount(count), "counting GPUs");
  });
}

int device_info(int device, CudaDeviceInfo* info, Status* status) {
  return guard(status, [&] {
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, device), "reading the GPU's properties");
    *info = {};
    std::snprintf(info->name, sizeof(info->name), "%s", properties.name);
    info->major = properties.major;
    info->minor = properties.minor;
    info->multiprocessors = properties.multiProcessorCount;
    info->l2_bytes = properties.l2CacheSize;
    info->total_bytes = properties.totalGlobalMem;
    check(cudaDriverGetVersion(&info->driver_version), "reading the driver's version");
    check(cudaRuntimeGetVersion(&info->runtime_version), "reading the runtime's version");
  });
}

}  // namespace fewbit::cuda
