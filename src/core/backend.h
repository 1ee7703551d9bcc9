// What a device can do, whatever it is: memory, copies, ops, replayable programs.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "abi.h"
#include "op_spec.h"

namespace fewbit {

class MappedFile;
class Storage;

// An op with its tensors and attributes filled in, bound to one back end's implementation.
struct BoundCall {
  const OpSpec* spec = nullptr;
  int handle = -1;
  OpCall call;
};

// A back end's own form of a program (a captured graph); absent where calls are simply run in order.
class Graph {
 public:
  virtual ~Graph() = default;
};

// A point in the device's order of work that a thread can wait for.
class Fence {
 public:
  virtual ~Fence() = default;
};

// One device with its own stream of work. Calls must hold mutex(), but for the ones marked (any).
class Backend {
 public:
  virtual ~Backend() = default;

  virtual const char* type() const = 0;
  virtual std::string name() const = 0;
  virtual void memory(size_t* free_bytes, size_t* total_bytes) = 0;

  // (any) Memory is 64-byte aligned or better, and counted in used() and peak().
  void* allocate(size_t bytes);
  void release(void* data, size_t bytes);
  size_t used() const { return used_; }
  size_t peak() const { return peak_; }

  // (any) Every storage with memory of its own, so that closing the device can free them all: a handle
  // that nobody disposed must not keep gigabytes until the garbage collector comes by.
  void enlist(Storage* storage);
  void delist(Storage* storage);
  // No work may be under way. Storages that are still there throw when they are used.
  void release_all();

  // In order with other work. A copy to or from the host is done when it returns.
  // Whether allocate() gives zeroed memory.
  virtual bool zeroes_memory() const { return false; }
  virtual void clear(void* data, size_t bytes) = 0;
  virtual void copy_in(void* to, const void* host, size_t bytes) = 0;
  virtual void copy_out(void* host, const void* from, size_t bytes) = 0;
  virtual void copy_within(void* to, const void* from, size_t bytes) = 0;
  // Copies rows out of a file; the rows of the tensor may be spaced apart.
  virtual void load(const MappedFile& file, uint64_t offset, const TensorView& to) = 0;
  virtual void synchronize() = 0;

  // The handle of an op, or -1.
  virtual int find(const OpSpec& spec) const = 0;
  virtual size_t workspace(const BoundCall& call) = 0;
  virtual void prepare(const BoundCall& call) = 0;
  virtual void run(const BoundCall& call) = 0;

  // Null when the back end has no graphs; then a program runs its calls one by one.
  virtual std::unique_ptr<Graph> capture(const std::vector<BoundCall>& calls) = 0;
  virtual void launch(const Graph& graph) = 0;

  // Null when all work is done already (work is synchronous). wait: (any).
  virtual std::unique_ptr<Fence> fence() = 0;
  virtual void wait(const Fence& fence) = 0;
  // Milliseconds that the work took between two fences.
  virtual double elapsed(const Fence& start, const Fence& end) = 0;
  // Host memory that the device can copy to without waiting, or null: then copy_out is used.
  virtual std::shared_ptr<void> pinned(size_t bytes) = 0;
  virtual void copy_out_later(void* pinned, const void* from, size_t bytes) = 0;

  std::recursive_mutex& mutex() { return mutex_; }

 protected:
  virtual void* do_allocate(size_t bytes) = 0;
  virtual void do_release(void* data, size_t bytes) = 0;

 private:
  std::recursive_mutex mutex_;
  std::mutex storages_mutex_;
  std::unordered_set<Storage*> storages_;
  std::atomic<size_t> used_{0};
  std::atomic<size_t> peak_{0};
};

// Finds the op by name, checks the call and binds it. Throws Error when the op does not exist, when this
// back end does not implement it, or when the tensors do not fit.
BoundCall bind_call(Backend& backend, const std::string& op, const OpCall& call, int tensor_count,
                    int attr_count);

}  // namespace fewbit
