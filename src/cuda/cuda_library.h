// Finding and loading libfewbit_cuda.so at run time, once per process and never before it is needed.
#pragma once

#include <string>
#include <vector>

#include "../core/error.h"
#include "cuda_table.h"

namespace fewbit {

class CudaLibrary {
 public:
  // The library, loaded at the first call. With FEWBIT_DEVICE=cpu nothing is probed.
  static const CudaLibrary& instance();

  // Empty when CUDA can be used; else one sentence on why not.
  const std::string& reason() const { return reason_; }
  const std::string& path() const { return path_; }
  const std::vector<CudaDeviceInfo>& devices() const { return devices_; }
  std::string cublaslt_report() const;
  // Whether the library itself is loaded; its op list can be read even without a device.
  bool loaded() const { return loaded_; }
  const CudaTable& table() const { return table_; }
  // Throws Error when CUDA cannot be used.
  void require() const;

 private:
  CudaLibrary();

  bool loaded_ = false;
  CudaTable table_{};
  std::string path_;
  std::string reason_;
  std::vector<CudaDeviceInfo> devices_;
};

// Turns a failed table call into an Error.
void check_status(int failed, const Status& status);

}  // namespace fewbit
