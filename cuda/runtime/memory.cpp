#include <string>

#include "guard.h"
#include "runtime.h"
#include "small_copy.h"

namespace fewbit::cuda {

namespace {

int copy(void* context, void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
         const char* attempted, Status* status) {
  return guard(status, [&] {
    Context& entered = enter(context);
    if (bytes) check(cudaMemcpyAsync(to, from, bytes, kind, entered.stream), attempted);
  });
}

std::string allocating(size_t bytes, const char* where) {
  return "allocating " + std::to_string(bytes) + " bytes of " + where;
}

}  // namespace

int allocate(void* context, size_t bytes, void** pointer, Status* status) {
  return guard(status, [&] {
    enter(context);
    *pointer = nullptr;
    // A plain allocation keeps its address in captured graphs; the caller pools.
    check(cudaMalloc(pointer, bytes ? bytes : 1), allocating(bytes, "GPU memory").c_str());
  });
}

void release(void* context, void* pointer) {
  release_guard(context, [&](Context&) { cudaFree(pointer); });
}

int allocate_pinned(void* context, size_t bytes, void** pointer, Status* status) {
  return guard(status, [&] {
    enter(context);
    *pointer = nullptr;
    const cudaError_t error = cudaMallocHost(pointer, bytes ? bytes : 1);
    if (error == cudaErrorMemoryAllocation) {
      (void)cudaGetLastError();
      throw Error("ERR_FEWBIT_OUT_OF_MEMORY",
                  allocating(bytes, "pinned host memory") +
                      " failed: free host memory or raise the limit of locked memory (ulimit -l)");
    }
    check(error, allocating(bytes, "pinned host memory").c_str());
  });
}

void release_pinned(void* context, void* pointer) {
  release_guard(context, [&](Context&) { cudaFreeHost(pointer); });
}

int copy_in(void* context, void* device, const void* host, size_t bytes, Status* status) {
  return copy(context, device, host, bytes, cudaMemcpyHostToDevice, "copying to the GPU", status);
}

int copy_out(void* context, void* host, const void* device, size_t bytes, Status* status) {
  bool is_done = false;
  const int failed =
      guard(status, [&] { is_done = copy_small(host, device, bytes, enter(context)); });
  if (failed || is_done) return failed;
  return copy(context, host, device, bytes, cudaMemcpyDeviceToHost, "copying from the GPU", status);
}

int copy_within(void* context, void* to, const void* from, size_t bytes, Status* status) {
  return copy(context, to, from, bytes, cudaMemcpyDeviceToDevice, "copying on the GPU", status);
}

int clear(void* context, void* device, size_t bytes, Status* status) {
  return guard(status, [&] {
    Context& entered = enter(context);
    if (bytes) check(cudaMemsetAsync(device, 0, bytes, entered.stream), "clearing GPU memory");
  });
}

int synchronize(void* context, Status* status) {
  return guard(status, [&] {
    Context& entered = enter(context);
    check(cudaStreamSynchronize(entered.stream), "waiting for the GPU");
  });
}

}  // namespace fewbit::cuda
