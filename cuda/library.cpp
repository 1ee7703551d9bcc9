// The one exported function of libfewbit_cuda.so.
#include "cublaslt/library.h"
#include "runtime/runtime.h"

extern "C" __attribute__((visibility("default"))) int fewbit_cuda_table(uint32_t abi_version,
                                                                        fewbit::CudaTable* table) {
  using namespace fewbit;
  if (abi_version != kAbiVersion || !table) return 1;
  table->device_count = cuda::device_count;
  table->device_info = cuda::device_info;
  table->cublaslt_report = cuda::cublaslt_report;
  table->context_create = cuda::context_create;
  table->context_destroy = cuda::context_destroy;
  table->memory_info = cuda::memory_info;
  table->allocate = cuda::allocate;
  table->release = cuda::release;
  table->allocate_pinned = cuda::allocate_pinned;
  table->release_pinned = cuda::release_pinned;
  table->copy_in = cuda::copy_in;
  table->copy_out = cuda::copy_out;
  table->copy_within = cuda::copy_within;
  table->clear = cuda::clear;
  table->synchronize = cuda::synchronize;
  table->event_create = cuda::event_create;
  table->event_destroy = cuda::event_destroy;
  table->event_record = cuda::event_record;
  table->event_synchronize = cuda::event_synchronize;
  table->event_elapsed = cuda::event_elapsed;
  table->capture_begin = cuda::capture_begin;
  table->capture_end = cuda::capture_end;
  table->graph_launch = cuda::graph_launch;
  table->graph_destroy = cuda::graph_destroy;
  table->op_index = cuda::op_index;
  table->op_workspace = cuda::op_workspace;
  table->op_prepare = cuda::op_prepare;
  table->op_run = cuda::op_run;
  return 0;
}
