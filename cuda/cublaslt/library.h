// Finding libcublasLt at run time.
#pragma once

#include <string>

#include "abi.h"

namespace fewbit::cuda {

struct CublasLtLibrary {
  lt::Functions functions{};
  bool usable = false;
  std::string report;  // one sentence: version and file, or why it is not used
};

// Searches on the first call, and stays loaded. Looked at in this order: the folders of
// FEWBIT_CUDA_LIB_DIR (colon-separated; a Python site-packages folder works too), the dynamic
// loader's own search, CUDA_HOME and /usr/local/cuda*. Versions 13, 12 and 11 are accepted.
const CublasLtLibrary& cublaslt_library();

void cublaslt_report(char* text, size_t size);

}  // namespace fewbit::cuda
