#include "cuda_backend.h"

#include <algorithm>
#include <cstring>

#include "../core/mapped_file.h"

namespace fewbit {

namespace {

constexpr size_t kStageBytes = 32u << 20;
constexpr int64_t kReadGrain = 1 << 20;
constexpr int kReaders = 4;
constexpr size_t kPinnedBytes = 64 << 10;

class CudaGraph : public Graph {
 public:
  CudaGraph(const CudaTable& table, void* context, void* graph)
      : table_(table), context_(context), graph_(graph) {}
  ~CudaGraph() override { table_.graph_destroy(context_, graph_); }
  void* get() const { return graph_; }

 private:
  const CudaTable& table_;
  void* context_;
  void* graph_;
};

class CudaFence : public Fence {
 public:
  CudaFence(const CudaTable& table, void* context, void* event)
      : table_(table), context_(context), event_(event) {}
  ~CudaFence() override { table_.event_destroy(context_, event_); }
  void* get() const { return event_; }

 private:
  const CudaTable& table_;
  void* context_;
  void* event_;
};

void* event_of(const Fence& fence) { return static_cast<const CudaFence&>(fence).get(); }

}  // namespace

CudaBackend::CudaBackend(int index) : table_(CudaLibrary::instance().table()) {
  const CudaLibrary& library = CudaLibrary::instance();
  library.require();
  if (index < 0 || index >= static_cast<int>(library.devices().size())) {
    throw Error("ERR_FEWBIT_DEVICE", "there is no cuda:" + std::to_string(index) + "; found " +
                                         std::to_string(library.devices().size()) +
                                         " CUDA devices");
  }
  Status status{};
  check_status(table_.context_create(index, &context_, &status), status);
  name_ = "cuda:" + std::to_string(index) + " (" + library.devices()[index].name + ")";
}

CudaBackend::~CudaBackend() {
  Status status{};
  table_.synchronize(context_, &status);
  for (Stage& stage : stages_) {
    stage.copied.reset();
    table_.release_pinned(context_, stage.buffer);
  }
  for (void* buffer : spare_pinned_) table_.release_pinned(context_, buffer);
  table_.context_destroy(context_);
}

void CudaBackend::memory(size_t* free_bytes, size_t* total_bytes) {
  Status status{};
  check_status(table_.memory_info(context_, free_bytes, total_bytes, &status), status);
}

void* CudaBackend::do_allocate(size_t bytes) {
  void* data = nullptr;
  Status status{};
  check_status(table_.allocate(context_, bytes, &data, &status), status);
  return data;
}

void CudaBackend::do_release(void* data, size_t) { table_.release(context_, data); }

void CudaBackend::clear(void* data, size_t bytes) {
  Status status{};
  check_status(table_.clear(context_, data, bytes, &status), status);
}

void CudaBackend::copy_in(void* to, const void* host, size_t bytes) {
  Status status{};
  check_status(table_.copy_in(context_, to, host, bytes, &status), status);
}

void CudaBackend::copy_out(void* host, const void* from, size_t bytes) {
  Status status{};
  check_status(table_.copy_out(context_, host, from, bytes, &status), status);
  synchronize();
}

void CudaBackend::copy_within(void* to, const void* from, size_t bytes) {
  Status status{};
  check_status(table_.copy_within(context_, to, from, bytes, &status), status);
}

void CudaBackend::copy_out_later(void* pinned, const void* from, size_t bytes) {
  Status status{};
  check_status(table_.copy_out(context_, pinned, from, bytes, &status), status);
}

void CudaBackend::synchronize() {
  Status status{};
  check_status(table_.synchronize(context_, &status), status);
}

CudaBackend::Stage& CudaBackend::next_stage() {
  Stage& stage = stages_[turn_];
  turn_ = 1 - turn_;
  if (stage.copied) {
    wait(*stage.copied);
    stage.copied.reset();
  }
  if (!stage.buffer) {
    Status status{};
    check_status(table_.allocate_pinned(context_, kStageBytes, &stage.buffer, &status), status);
  }
  return stage;
}

// Copying straight from the map would fault page by page inside the driver, so several threads fill a pinned
// buffer while the other one is on its way. Rows that are spaced apart are staged with their gaps, zeroed.
void CudaBackend::load(const MappedFile& file, uint64_t offset, const TensorView& to) {
  if (!readers_) readers_ = std::make_unique<ThreadPool>(kReaders);
  const int64_t element = static_cast<int64_t>(size_of(to.dtype));
  const bool contiguous = to.contiguous();
  const int64_t bytes = to.elements() * element;
  const int64_t row = contiguous ? 1 : to.cols() * element;
  const int64_t stride = contiguous ? 1 : to.row_stride() * element;
  const int64_t rows = row > 0 ? bytes / row : 0;
  if (stride > static_cast<int64_t>(kStageBytes)) {
    throw Error("ERR_FEWBIT_SHAPE", "rows of " + describe(to) + " are too long to be loaded");
  }
  const char* from = file.range(offset, bytes);
  const int64_t batch = static_cast<int64_t>(kStageBytes) / std::max<int64_t>(stride, 1);
  for (int64_t first = 0; first < rows; first += batch) {
    const int64_t count = std::min(batch, rows - first);
    Stage& stage = next_stage();
    char* buffer = static_cast<char*>(stage.buffer);
    readers_->parallel_for(count, std::max<int64_t>(1, kReadGrain / stride),
                           [&](int64_t begin, int64_t end) {
                             if (contiguous) {
                               std::memcpy(buffer + begin, from + first + begin, end - begin);
                               return;
                             }
                             for (int64_t r = begin; r < end; ++r) {
                               std::memcpy(buffer + r * stride, from + (first + r) * row, row);
                               std::memset(buffer + r * stride + row, 0, stride - row);
                             }
                           });
    // The gap after the last row may belong to somebody else.
    const int64_t span = count * stride - (stride - row);
    copy_in(to.as<char>() + first * stride, buffer, span);
    stage.copied = fence();
  }
}

int CudaBackend::find(const OpSpec& spec) const { return table_.op_index(spec.name); }

size_t CudaBackend::workspace(const BoundCall& call) {
  size_t bytes = 0;
  Status status{};
  check_status(table_.op_workspace(context_, call.handle, &call.call, &bytes, &status), status);
  return bytes;
}

void CudaBackend::prepare(const BoundCall& call) {
  Status status{};
  check_status(table_.op_prepare(context_, call.handle, &call.call, &status), status);
}

void CudaBackend::run(const BoundCall& call) {
  Status status{};
  check_status(table_.op_run(context_, call.handle, &call.call, &status), status);
}

std::unique_ptr<Graph> CudaBackend::capture(const std::vector<BoundCall>& calls) {
  Status status{};
  std::lock_guard<std::recursive_mutex> lock(mutex());
  check_status(table_.capture_begin(context_, &status), status);
  void* graph = nullptr;
  try {
    for (const BoundCall& call : calls) run(call);
  } catch (...) {
    Status ignored{};
    if (table_.capture_end(context_, &graph, &ignored) == 0) table_.graph_destroy(context_, graph);
    throw;
  }
  check_status(table_.capture_end(context_, &graph, &status), status);
  return std::make_unique<CudaGraph>(table_, context_, graph);
}

void CudaBackend::launch(const Graph& graph) {
  Status status{};
  void* handle = static_cast<const CudaGraph&>(graph).get();
  check_status(table_.graph_launch(context_, handle, &status), status);
}

std::unique_ptr<Fence> CudaBackend::fence() {
  Status status{};
  void* event = nullptr;
  check_status(table_.event_create(context_, &event, &status), status);
  auto fence = std::make_unique<CudaFence>(table_, context_, event);
  check_status(table_.event_record(context_, event, &status), status);
  return fence;
}

void CudaBackend::wait(const Fence& fence) {
  Status status{};
  check_status(table_.event_synchronize(context_, event_of(fence), &status), status);
}

double CudaBackend::elapsed(const Fence& start, const Fence& end) {
  wait(end);
  Status status{};
  float milliseconds = 0;
  check_status(
      table_.event_elapsed(context_, event_of(start), event_of(end), &milliseconds, &status),
      status);
  return milliseconds;
}

std::shared_ptr<void> CudaBackend::pinned(size_t bytes) {
  if (bytes > kPinnedBytes) return nullptr;
  void* buffer = nullptr;
  std::lock_guard<std::recursive_mutex> lock(mutex());
  if (!spare_pinned_.empty()) {
    buffer = spare_pinned_.back();
    spare_pinned_.pop_back();
  } else {
    Status status{};
    check_status(table_.allocate_pinned(context_, kPinnedBytes, &buffer, &status), status);
  }
  return std::shared_ptr<void>(buffer, [self = shared_from_this()](void* spare) {
    std::lock_guard<std::recursive_mutex> guard(self->mutex());
    self->spare_pinned_.push_back(spare);
  });
}

}  // namespace fewbit
