// The whole surface of libfewbit_cuda.so: one exported C function that fills this table.
// Functions that can fail return 0 on success, else they fill Status. All of them may be called
// from any thread, one at a time per context.
#pragma once

#include "../core/abi.h"

namespace fewbit {

struct Status {
  char code[40];       // "ERR_FEWBIT_CUDA", "ERR_FEWBIT_OUT_OF_MEMORY", ...
  char message[1000];  // what failed and what to do about it
};

struct CudaDeviceInfo {
  char name[256];
  int major, minor;
  int multiprocessors;
  int l2_bytes;
  int driver_version;   // 13000 = 13.0: what the driver supports
  int runtime_version;  // what this library was built with
  size_t total_bytes;
};

struct CudaTable {
  int (*device_count)(int* count, Status* status);
  int (*device_info)(int device, CudaDeviceInfo* info, Status* status);
  // One sentence on cuBLASLt: version and file, or why it is not used. Never fails.
  void (*cublaslt_report)(char* text, size_t size);

  // A context is one device, one stream and what the ops keep for it (cuBLASLt handle, its
  // workspace and its tuned algorithms).
  int (*context_create)(int device, void** context, Status* status);
  void (*context_destroy)(void* context);
  int (*memory_info)(void* context, size_t* free_bytes, size_t* total_bytes, Status* status);

  int (*allocate)(void* context, size_t bytes, void** pointer, Status* status);
  void (*release)(void* context, void* pointer);
  int (*allocate_pinned)(void* context, size_t bytes, void** pointer, Status* status);
  void (*release_pinned)(void* context, void* pointer);

  // In stream order; asynchronous when the host side is pinned.
  int (*copy_in)(void* context, void* device, const void* host, size_t bytes, Status* status);
  int (*copy_out)(void* context, void* host, const void* device, size_t bytes, Status* status);
  int (*copy_within)(void* context, void* to, const void* from, size_t bytes, Status* status);
  int (*clear)(void* context, void* device, size_t bytes, Status* status);
  int (*synchronize)(void* context, Status* status);

  int (*event_create)(void* context, void** event, Status* status);
  void (*event_destroy)(void* context, void* event);
  int (*event_record)(void* context, void* event, Status* status);
  int (*event_synchronize)(void* context, void* event, Status* status);
  int (*event_elapsed)(void* context, void* start, void* end, float* milliseconds, Status* status);

  int (*capture_begin)(void* context, Status* status);
  int (*capture_end)(void* context, void** graph, Status* status);
  int (*graph_launch)(void* context, void* graph, Status* status);
  void (*graph_destroy)(void* context, void* graph);

  // -1 when this library does not implement the op.
  int (*op_index)(const char* name);
  int (*op_workspace)(void* context, int op, const OpCall* call, size_t* bytes, Status* status);
  // Called once per call before it is captured, with real buffers: times candidates, sets
  // attributes.
  int (*op_prepare)(void* context, int op, const OpCall* call, Status* status);
  int (*op_run)(void* context, int op, const OpCall* call, Status* status);
};

}  // namespace fewbit

// Returns 0 and fills the table, or non-zero when abi_version is not the one this library was built
// with.
extern "C" int fewbit_cuda_table(uint32_t abi_version, fewbit::CudaTable* table);
using FewbitCudaTableFn = int (*)(uint32_t, fewbit::CudaTable*);
