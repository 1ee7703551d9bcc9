#include "guard.h"
#include "runtime.h"

namespace fewbit::cuda {

int event_create(void* context, void** event, Status* status) {
  return guard(status, [&] {
    enter(context);
    cudaEvent_t created = nullptr;
    check(cudaEventCreate(&created), "creating a CUDA event");
    *event = created;
  });
}

void event_destroy(void* context, void* event) {
  release_guard(context, [&](Context&) { cudaEventDestroy(static_cast<cudaEvent_t>(event)); });
}

int event_record(void* context, void* event, Status* status) {
  return guard(status, [&] {
    Context& entered = enter(context);
    check(cudaEventRecord(static_cast<cudaEvent_t>(event), entered.stream),
          "recording a CUDA event");
  });
}

int event_synchronize(void* context, void* event, Status* status) {
  return guard(status, [&] {
    enter(context);
    check(cudaEventSynchronize(static_cast<cudaEvent_t>(event)), "waiting for a CUDA event");
  });
}

int event_elapsed(void* context, void* start, void* end, float* milliseconds, Status* status) {
  return guard(status, [&] {
    enter(context);
    check(cudaEventElapsedTime(milliseconds, static_cast<cudaEvent_t>(start),
                               static_cast<cudaEvent_t>(end)),
          "reading the time between CUDA events");
  });
}

}  // namespace fewbit::cuda
