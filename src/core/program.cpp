#include "program.h"

#include <algorithm>

namespace fewbit {

std::shared_ptr<Storage> Arena::reserve(size_t bytes) {
  if (!block_ || block_->bytes() < bytes) {
    block_.reset();  // freed before the larger one is asked for, unless a program still uses it
    block_ = std::make_shared<Storage>(backend_, bytes);
  }
  return block_;
}

Program::Program(std::shared_ptr<Backend> backend, std::vector<BoundCall> calls,
                 std::vector<std::shared_ptr<Storage>> storages, size_t arena_bytes)
    : backend_(std::move(backend)),
      calls_(std::move(calls)),
      storages_(std::move(storages)),
      arena_bytes_(arena_bytes) {
  for (const BoundCall& call : calls_) backend_->prepare(call);
  graph_ = backend_->capture(calls_);
}

void Program::run() {
  if (graph_) {
    backend_->launch(*graph_);
    return;
  }
  for (const BoundCall& call : calls_) backend_->run(call);
}

Tensor Recorder::tensor(DType dtype, std::vector<int64_t> shape) {
  auto storage = Storage::planned(backend_, checked_bytes(dtype, shape));
  return Tensor::make(std::move(storage), dtype, std::move(shape));
}

void Recorder::run(const std::string& op, const std::vector<const Tensor*>& tensors,
                   const std::vector<double>& attrs) {
  if (finished_) throw Error("ERR_FEWBIT_STATE", "this program is already recorded");
  OpCall call;
  if (tensors.size() > kMaxTensors || attrs.size() > kMaxAttrs) {
    throw Error("ERR_FEWBIT_ARGUMENT", op + ": too many tensors or attributes");
  }
  std::copy(attrs.begin(), attrs.end(), call.attrs);
  Recorded recorded;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i] && &tensors[i]->storage->backend() != backend_.get()) {
      throw Error("ERR_FEWBIT_ARGUMENT", op + ": " + describe(tensors[i]->shape_view()) +
                                             " belongs to another device object");
    }
    recorded.tensors.push_back(tensors[i] ? *tensors[i] : Tensor{});
    if (tensors[i]) call.tensors[i] = tensors[i]->shape_view();
  }
  recorded.bound = bind_call(*backend_, op, call, static_cast<int>(tensors.size()),
                             static_cast<int>(attrs.size()));
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (!tensors[i] || !tensors[i]->storage->is_planned()) continue;
    bool& written = written_[tensors[i]->storage.get()];
    const TensorSpec& spec = recorded.bound.spec->tensors[i];
    if (spec.access == Access::Read && !written) {
      throw Error("ERR_FEWBIT_STATE",
                  op + ": " + spec.name + " is read before any recorded op has written it");
    }
    written = written || spec.access != Access::Read;
  }
  calls_.push_back(std::move(recorded));
}

std::vector<Lifetime> Recorder::lifetimes(std::vector<Storage*>* planned) const {
  std::vector<Lifetime> result;
  std::unordered_map<Storage*, size_t> index;
  for (size_t i = 0; i < calls_.size(); ++i) {
    for (const Tensor& tensor : calls_[i].tensors) {
      Storage* storage = tensor.storage.get();
      if (!storage || !storage->is_planned()) continue;
      const int at = static_cast<int>(i);
      auto [entry, is_new] = index.emplace(storage, result.size());
      if (is_new) {
        result.push_back({storage->bytes(), at, at});
        planned->push_back(storage);
      }
      result[entry->second].last = at;
    }
  }
  return result;
}

std::shared_ptr<Program> Recorder::finish() {
  if (finished_) throw Error("ERR_FEWBIT_STATE", "this program is already recorded");
  finished_ = true;

  std::vector<Storage*> planned;
  const std::vector<Lifetime> lives = lifetimes(&planned);
  Plan plan = plan_memory(lives);
  size_t workspace = 0;
  for (Recorded& recorded : calls_) {
    BoundCall& bound = recorded.bound;
    bound.call.workspace_bytes = backend_->workspace(bound);
    workspace = std::max(workspace, bound.call.workspace_bytes);
  }

  auto block = arena_->reserve(plan.bytes + workspace);
  for (size_t i = 0; i < planned.size(); ++i) planned[i]->place(block, plan.offsets[i]);

  std::vector<BoundCall> calls;
  std::vector<std::shared_ptr<Storage>> storages{block};
  for (Recorded& recorded : calls_) {
    OpCall& call = recorded.bound.call;
    for (size_t i = 0; i < recorded.tensors.size(); ++i) {
      if (!recorded.tensors[i].storage) continue;
      call.tensors[i] = recorded.tensors[i].view();
      storages.push_back(recorded.tensors[i].storage);
    }
    call.workspace = call.workspace_bytes ? block->data() + plan.bytes : nullptr;
    calls.push_back(recorded.bound);
  }
  calls_.clear();
  return std::make_shared<Program>(backend_, std::move(calls), std::move(storages),
                                   plan.bytes + workspace);
}

}  // namespace fewbit
