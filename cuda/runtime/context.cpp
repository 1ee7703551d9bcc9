#include "../common/context.h"

#include "../common/zeroed.h"
#include "../cublaslt/cublaslt.h"
#include "guard.h"
#include "runtime.h"

namespace fewbit::cuda {

namespace {

void require_supported(const cudaDeviceProp& properties) {
  if (properties.major >= 8) return;
  throw Error("ERR_FEWBIT_CUDA", std::string(properties.name) + " has compute capability " +
                                     std::to_string(properties.major) + "." +
                                     std::to_string(properties.minor) +
                                     ", but 8.0 or newer (Ampere) is needed: use device 'cpu'");
}

}  // namespace

int context_create(int device, void** context, Status* status) {
  return guard(status, [&] {
    auto created = std::make_unique<Context>();
    created->device = device;
    check(cudaSetDevice(device), "selecting the GPU");
    check(cudaGetDeviceProperties(&created->properties, device), "reading the GPU's properties");
    require_supported(created->properties);
    check(cudaStreamCreateWithFlags(&created->stream, cudaStreamNonBlocking),
          "creating a CUDA stream");
    try {
      created->cublaslt = CublasLt::create();
      created->zeroed = std::make_shared<Zeroed>(created->stream);
    } catch (...) {
      cudaStreamDestroy(created->stream);
      throw;
    }
    *context = created.release();
  });
}

void context_destroy(void* context) {
  release_guard(context, [](Context& destroyed) {
    cudaStreamSynchronize(destroyed.stream);
    destroyed.cublaslt.reset();
    destroyed.zeroed.reset();
    cudaStreamDestroy(destroyed.stream);
  });
  delete static_cast<Context*>(context);
}

int memory_info(void* context, size_t* free_bytes, size_t* total_bytes, Status* status) {
  return guard(status, [&] {
    enter(context);
    check(cudaMemGetInfo(free_bytes, total_bytes), "reading the GPU's free memory");
  });
}

}  // namespace fewbit::cuda
