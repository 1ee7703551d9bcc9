// Recording and replaying a list of ops over fixed buffers.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "plan.h"
#include "tensor.h"

namespace fewbit {

// The block that all programs of a device share: they run one after the other, and what they plan in it
// does not outlive a run.
class Arena {
 public:
  explicit Arena(std::shared_ptr<Backend> backend) : backend_(std::move(backend)) {}
  // A block of at least that many bytes. Programs keep the block they got when a larger one replaces it.
  std::shared_ptr<Storage> reserve(size_t bytes);

 private:
  std::shared_ptr<Backend> backend_;
  std::shared_ptr<Storage> block_;
};

class Program {
 public:
  Program(std::shared_ptr<Backend> backend, std::vector<BoundCall> calls,
          std::vector<std::shared_ptr<Storage>> storages, size_t arena_bytes);

  // The caller holds the back end's mutex.
  void run();
  size_t operations() const { return calls_.size(); }
  size_t arena_bytes() const { return arena_bytes_; }
  Backend& backend() const { return *backend_; }

 private:
  std::shared_ptr<Backend> backend_;
  std::vector<BoundCall> calls_;
  std::vector<std::shared_ptr<Storage>> storages_;  // kept alive
  size_t arena_bytes_;
  std::unique_ptr<Graph> graph_;
};

class Recorder {
 public:
  Recorder(std::shared_ptr<Backend> backend, std::shared_ptr<Arena> arena)
      : backend_(std::move(backend)), arena_(std::move(arena)) {}

  // A tensor that lives from the first to the last op that touches it.
  Tensor tensor(DType dtype, std::vector<int64_t> shape);
  // tensors[i] == nullptr stands for an optional tensor that is left out.
  void run(const std::string& op, const std::vector<const Tensor*>& tensors,
           const std::vector<double>& attrs);
  // Plans memory, lets the back end prepare every call and captures. May be called once.
  std::shared_ptr<Program> finish();

 private:
  struct Recorded {
    BoundCall bound;
    std::vector<Tensor> tensors;  // storage == nullptr: left out
  };

  std::vector<Lifetime> lifetimes(std::vector<Storage*>* planned) const;

  std::shared_ptr<Backend> backend_;
  std::shared_ptr<Arena> arena_;
  std::vector<Recorded> calls_;
  std::unordered_map<Storage*, bool> written_;  // planned storages, and whether an op wrote them
  bool finished_ = false;
};

}  // namespace fewbit
