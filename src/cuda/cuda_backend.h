// One CUDA device, reached through the table of libfewbit_cuda.so.
#pragma once

#include <vector>

#include "../core/backend.h"
#include "../core/thread_pool.h"
#include "cuda_library.h"

namespace fewbit {

class CudaBackend : public Backend, public std::enable_shared_from_this<CudaBackend> {
 public:
  explicit CudaBackend(int index);
  ~CudaBackend() override;

  const char* type() const override { return "cuda"; }
  std::string name() const override { return name_; }
  void memory(size_t* free_bytes, size_t* total_bytes) override;
  void clear(void* data, size_t bytes) override;
  void copy_in(void* to, const void* host, size_t bytes) override;
  void copy_out(void* host, const void* from, size_t bytes) override;
  void copy_within(void* to, const void* from, size_t bytes) override;
  void load(const MappedFile& file, uint64_t offset, const TensorView& to) override;
  void synchronize() override;
  int find(const OpSpec& spec) const override;
  size_t workspace(const BoundCall& call) override;
  void prepare(const BoundCall& call) override;
  void run(const BoundCall& call) override;
  std::unique_ptr<Graph> capture(const std::vector<BoundCall>& calls) override;
  void launch(const Graph& graph) override;
  std::unique_ptr<Fence> fence() override;
  void wait(const Fence& fence) override;
  double elapsed(const Fence& start, const Fence& end) override;
  std::shared_ptr<void> pinned(size_t bytes) override;
  void copy_out_later(void* pinned, const void* from, size_t bytes) override;

 protected:
  void* do_allocate(size_t bytes) override;
  void do_release(void* data, size_t bytes) override;

 private:
  // Pinned buffers that weights pass through: one is filled while the other is copied.
  struct Stage {
    void* buffer = nullptr;
    std::unique_ptr<Fence> copied;
  };

  Stage& next_stage();

  const CudaTable& table_;
  void* context_ = nullptr;
  std::string name_;
  Stage stages_[2];
  int turn_ = 0;
  std::unique_ptr<ThreadPool> readers_;
  std::vector<void*> spare_pinned_;  // of kPinnedBytes each
};

}  // namespace fewbit
