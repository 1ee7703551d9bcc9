// Kernel launches through cudaLaunchKernelEx.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <utility>

#include "context.h"

namespace fewbit::cuda {

// What a block may have on every device from compute capability 8.0 on; 8.6, 8.9 and 12.0 have no more.
constexpr size_t kLeastSharedBytes = 99 * 1024;

struct Launch {
  const char* name = "kernel";  // for error messages
  dim3 grid{1};
  dim3 block{1};
  size_t shared_bytes = 0;  // dynamic; above 48 KiB the kernel's limit is raised
  int cluster = 1;          // thread-block cluster along x, up to 8, sm_90 and later
  // The kernel begins while its predecessor on the stream still runs (programmatic dependent
  // launch). It must call wait_for_predecessor() before it touches anything that any earlier kernel
  // wrote, and before it ends.
  bool overlap = false;
};

// Whether the device and driver know programmatic dependent launch, in captured graphs too.
inline bool supports_overlap(const Context& context) {
  static const int driver = [] {
    int version = 0;
    return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
  }();
  return context.properties.major >= 9 && driver >= 12030;
}

template <class... Parameters, class... Arguments>
void launch(const Launch& config, Context& context, void (*kernel)(Parameters...),
            Arguments&&... arguments) {
  if (config.shared_bytes > 48 * 1024) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(config.shared_bytes)),
          config.name);
  }
  cudaLaunchAttribute attributes[2];
  cudaLaunchConfig_t launch_config{};
  launch_config.gridDim = config.grid;
  launch_config.blockDim = config.block;
  launch_config.dynamicSmemBytes = config.shared_bytes;
  launch_config.stream = context.stream;
  launch_config.attrs = attributes;
  if (config.cluster > 1) {
    cudaLaunchAttribute& cluster = attributes[launch_config.numAttrs++];
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = static_cast<unsigned>(config.cluster);
    cluster.val.clusterDim.y = 1;
    cluster.val.clusterDim.z = 1;
  }
  if (config.overlap && supports_overlap(context)) {
    cudaLaunchAttribute& overlap = attributes[launch_config.numAttrs++];
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
  }
  check(cudaLaunchKernelEx(&launch_config, kernel,
                           static_cast<Parameters>(std::forward<Arguments>(arguments))...),
        config.name);
}

}  // namespace fewbit::cuda
