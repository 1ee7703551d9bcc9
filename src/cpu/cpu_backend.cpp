#include "cpu_backend.h"

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "../core/mapped_file.h"
#include "cpu_op.h"

namespace fewbit {

namespace {

constexpr int64_t kCopyGrain = 1 << 20;

// What the kernel could hand out without swapping; MemAvailable counts reclaimable caches, unlike free.
size_t available_bytes() {
  FILE* file = std::fopen("/proc/meminfo", "r");
  if (!file) return 0;
  char line[128];
  size_t kibibytes = 0;
  while (std::fgets(line, sizeof line, file)) {
    if (std::sscanf(line, "MemAvailable: %zu kB", &kibibytes) == 1) break;
  }
  std::fclose(file);
  return kibibytes * 1024;
}

}  // namespace

int CpuBackend::default_threads() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

CpuBackend::CpuBackend(int threads) : pool_(threads > 0 ? threads : default_threads()) {}

void CpuBackend::memory(size_t* free_bytes, size_t* total_bytes) {
  *free_bytes = available_bytes();
  *total_bytes = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE);
}

// Anonymous pages come zeroed, and are given back to the system at once when released.
void* CpuBackend::do_allocate(size_t bytes) {
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    throw Error("ERR_FEWBIT_OUT_OF_MEMORY", "cannot allocate " + std::to_string(bytes) +
                                                " bytes of host memory (" +
                                                std::to_string(available_bytes()) +
                                                " available): use a smaller model, context "
                                                "or batch, or a quantization with fewer bits");
  }
  return data;
}

void CpuBackend::do_release(void* data, size_t bytes) { munmap(data, bytes); }

void CpuBackend::clear(void* data, size_t bytes) { std::memset(data, 0, bytes); }

void CpuBackend::copy_in(void* to, const void* host, size_t bytes) { std::memcpy(to, host, bytes); }

void CpuBackend::copy_out(void* host, const void* from, size_t bytes) {
  std::memcpy(host, from, bytes);
}

void CpuBackend::copy_within(void* to, const void* from, size_t bytes) {
  std::memmove(to, from, bytes);
}

void CpuBackend::copy_out_later(void* pinned, const void* from, size_t bytes) {
  std::memcpy(pinned, from, bytes);
}

void CpuBackend::load(const MappedFile& file, uint64_t offset, const TensorView& to) {
  const size_t element = size_of(to.dtype);
  const int64_t bytes = to.elements() * static_cast<int64_t>(element);
  const char* from = file.range(offset, bytes);
  char* data = to.as<char>();
  if (to.contiguous()) {
    pool_.parallel_for(bytes, kCopyGrain, [&](int64_t begin, int64_t end) {
      std::memcpy(data + begin, from + begin, end - begin);
    });
    return;
  }
  const int64_t row = to.cols() * element, stride = to.row_stride() * element;
  pool_.parallel_for(to.rows(), std::max<int64_t>(1, kCopyGrain / std::max<int64_t>(row, 1)),
                     [&](int64_t begin, int64_t end) {
                       for (int64_t r = begin; r < end; ++r) {
                         std::memcpy(data + r * stride, from + r * row, row);
                       }
                     });
}

int CpuBackend::find(const OpSpec& spec) const {
  const auto& ops = CpuOp::all();
  for (size_t i = 0; i < ops.size(); ++i) {
    if (&ops[i]->spec == &spec) return static_cast<int>(i);
  }
  return -1;
}

size_t CpuBackend::workspace(const BoundCall& call) {
  const CpuOp& op = *CpuOp::all()[call.handle];
  return op.workspace ? op.workspace(call.call) : 0;
}

void CpuBackend::run(const BoundCall& call) { CpuOp::all()[call.handle]->run(call.call, pool_); }

}  // namespace fewbit
