#include "cuda_library.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace fewbit {

namespace {

constexpr const char* kFileName = "libfewbit_cuda.so";

// The folder of this addon: the CUDA library is installed beside it.
std::string own_folder() {
  Dl_info info{};
  if (!dladdr(reinterpret_cast<const void*>(&own_folder), &info) || !info.dli_fname) return ".";
  const std::string file = info.dli_fname;
  const size_t slash = file.rfind('/');
  return slash == std::string::npos ? "." : file.substr(0, slash);
}

}  // namespace

void check_status(int failed, const Status& status) {
  if (failed) throw Error(status.code, status.message);
}

const CudaLibrary& CudaLibrary::instance() {
  // Never unloaded: a CUDA context must not outlive the code that made it.
  static const CudaLibrary* library = new CudaLibrary();
  return *library;
}

CudaLibrary::CudaLibrary() {
  const char* wanted = std::getenv("FEWBIT_DEVICE");
  if (wanted && std::strcmp(wanted, "cpu") == 0) {
    reason_ = "switched off by FEWBIT_DEVICE=cpu";
    return;
  }
  const char* chosen = std::getenv("FEWBIT_CUDA_LIBRARY");
  path_ = chosen && *chosen ? chosen : own_folder() + "/" + kFileName;
  if (access(path_.c_str(), R_OK) != 0) {
    reason_ = path_ +
              " is not there: this build of fewbit has no CUDA back end; build it where nvcc " +
              "is installed, or set FEWBIT_CUDA_LIBRARY";
    return;
  }
  void* handle = dlopen(path_.c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (!handle) {
    reason_ = std::string("cannot load the CUDA back end: ") + dlerror();
    return;
  }
  auto fill = reinterpret_cast<FewbitCudaTableFn>(dlsym(handle, "fewbit_cuda_table"));
  if (!fill || fill(kAbiVersion, &table_) != 0) {
    reason_ = path_ + " is of another version than this addon: rebuild or reinstall fewbit";
    return;
  }
  loaded_ = true;
  Status status{};
  int count = 0;
  if (table_.device_count(&count, &status) != 0) {
    reason_ = status.message;
    return;
  }
  for (int i = 0; i < count; ++i) {
    CudaDeviceInfo info{};
    if (table_.device_info(i, &info, &status) != 0) {
      reason_ = status.message;
      return;
    }
    devices_.push_back(info);
  }
  if (devices_.empty()) reason_ = "the driver reports no CUDA device";
}

std::string CudaLibrary::cublaslt_report() const {
  char text[512] = "";
  if (loaded_) table_.cublaslt_report(text, sizeof text);
  return text;
}

void CudaLibrary::require() const {
  if (!reason_.empty()) throw Error("ERR_FEWBIT_DEVICE", "CUDA cannot be used: " + reason_);
}

}  // namespace fewbit
