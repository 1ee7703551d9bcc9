// The table's functions, by file. Contracts are those of src/cuda/cuda_table.h.
#pragma once

#include "../../src/cuda/cuda_table.h"

namespace fewbit::cuda {

// device.cpp
int device_count(int* count, Status* status);
int device_info(int device, CudaDeviceInfo* info, Status* status);

// context.cpp
int context_create(int device, void** context, Status* status);
void context_destroy(void* context);
int memory_info(void* context, size_t* free_bytes, size_t* total_bytes, Status* status);

// memory.cpp
int allocate(void* context, size_t bytes, void** pointer, Status* status);
void release(void* context, void* pointer);
int allocate_pinned(void* context, size_t bytes, void** pointer, Status* status);
void release_pinned(void* context, void* pointer);
int copy_in(void* context, void* device, const void* host, size_t bytes, Status* status);
int copy_out(void* context, void* host, const void* device, size_t bytes, Status* status);
int copy_within(void* context, void* to, const void* from, size_t bytes, Status* status);
int clear(void* context, void* device, size_t bytes, Status* status);
int synchronize(void* context, Status* status);

// event.cpp
int event_create(void* context, void** event, Status* status);
void event_destroy(void* context, void* event);
int event_record(void* context, void* event, Status* status);
int event_synchronize(void* context, void* event, Status* status);
int event_elapsed(void* context, void* start, void* end, float* milliseconds, Status* status);

// graph.cpp
int capture_begin(void* context, Status* status);
int capture_end(void* context, void** graph, Status* status);
int graph_launch(void* context, void* graph, Status* status);
void graph_destroy(void* context, void* graph);

// ops.cpp
int op_index(const char* name);
int op_workspace(void* context, int op, const OpCall* call, size_t* bytes, Status* status);
int op_prepare(void* context, int op, const OpCall* call, Status* status);
int op_run(void* context, int op, const OpCall* call, Status* status);

}  // namespace fewbit::cuda
