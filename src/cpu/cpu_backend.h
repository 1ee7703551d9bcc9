// The CPU as a device: host memory, a thread pool, ops that finish before they return.
#pragma once

#include "../core/backend.h"
#include "../core/thread_pool.h"

namespace fewbit {

class CpuBackend : public Backend {
 public:
  // threads = 0: one per core that this process may use.
  explicit CpuBackend(int threads);

  const char* type() const override { return "cpu"; }
  std::string name() const override { return "cpu"; }
  bool zeroes_memory() const override { return true; }
  void memory(size_t* free_bytes, size_t* total_bytes) override;
  void clear(void* data, size_t bytes) override;
  void copy_in(void* to, const void* host, size_t bytes) override;
  void copy_out(void* host, const void* from, size_t bytes) override;
  void copy_within(void* to, const void* from, size_t bytes) override;
  void load(const MappedFile& file, uint64_t offset, const TensorView& to) override;
  void synchronize() override {}
  int find(const OpSpec& spec) const override;
  size_t workspace(const BoundCall& call) override;
  void prepare(const BoundCall&) override {}
  void run(const BoundCall& call) override;
  std::unique_ptr<Graph> capture(const std::vector<BoundCall>&) override { return nullptr; }
  void launch(const Graph&) override {}
  std::unique_ptr<Fence> fence() override { return nullptr; }
  void wait(const Fence&) override {}
  double elapsed(const Fence&, const Fence&) override { return 0; }
  std::shared_ptr<void> pinned(size_t) override { return nullptr; }
  void copy_out_later(void* pinned, const void* from, size_t bytes) override;

  // Threads that a CPU device gets by default.
  static int default_threads();

 protected:
  void* do_allocate(size_t bytes) override;
  void do_release(void* data, size_t bytes) override;

 private:
  ThreadPool pool_;
};

}  // namespace fewbit
