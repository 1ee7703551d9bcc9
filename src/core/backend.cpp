#include "backend.h"

#include "../cpu/cpu_op.h"
#include "tensor.h"

namespace fewbit {

void* Backend::allocate(size_t bytes) {
  if (bytes == 0) return nullptr;
  void* data = do_allocate(bytes);
  const size_t used = used_ += bytes;
  size_t peak = peak_.load();
  while (used > peak && !peak_.compare_exchange_weak(peak, used)) {
  }
  return data;
}

void Backend::release(void* data, size_t bytes) {
  if (!data) return;
  do_release(data, bytes);
  used_ -= bytes;
}

void Backend::enlist(Storage* storage) {
  std::lock_guard<std::mutex> lock(storages_mutex_);
  storages_.insert(storage);
}

void Backend::delist(Storage* storage) {
  std::lock_guard<std::mutex> lock(storages_mutex_);
  storages_.erase(storage);
}

void Backend::release_all() {
  std::lock_guard<std::mutex> lock(storages_mutex_);
  for (Storage* storage : storages_) storage->drop();
}

BoundCall bind_call(Backend& backend, const std::string& op, const OpCall& call, int tensor_count,
                    int attr_count) {
  const OpSpec* spec = nullptr;
  for (const CpuOp* candidate : CpuOp::all()) {
    if (op == candidate->spec.name) spec = &candidate->spec;
  }
  if (!spec) throw Error("ERR_FEWBIT_UNKNOWN_OP", "there is no op named '" + op + "'");
  const int tensors = static_cast<int>(spec->tensors.size());
  const int attrs = static_cast<int>(spec->attrs.size());
  if (tensor_count != tensors || attr_count != attrs) {
    throw Error("ERR_FEWBIT_ARGUMENT", op + " takes " + std::to_string(tensors) + " tensors and " +
                                           std::to_string(attrs) + " attributes, got " +
                                           std::to_string(tensor_count) + " and " +
                                           std::to_string(attr_count));
  }
  for (int i = 0; i < tensors; ++i) {
    if (!call[i] && !spec->tensors[i].optional) {
      throw Error("ERR_FEWBIT_ARGUMENT", op + ": " + spec->tensors[i].name + " is missing");
    }
  }
  spec->check(call);
  const int handle = backend.find(*spec);
  if (handle < 0) {
    throw Error("ERR_FEWBIT_UNSUPPORTED_OP",
                std::string(backend.type()) + " back end has no implementation of op '" + op + "'");
  }
  return BoundCall{spec, handle, call};
}

}  // namespace fewbit
