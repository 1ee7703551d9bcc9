#include "library.h"

#include <dlfcn.h>
#include <glob.h>

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <vector>

namespace fewbit::cuda {

namespace {

constexpr const char* kNames[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11",
                                  "libcublasLt.so"};

void add_matches(const std::string& pattern, std::vector<std::string>& folders) {
  glob_t matches{};
  if (glob(pattern.c_str(), GLOB_NOSORT, nullptr, &matches) == 0) {
    for (size_t i = 0; i < matches.gl_pathc; ++i) folders.emplace_back(matches.gl_pathv[i]);
  }
  globfree(&matches);
}

std::vector<std::string> user_folders() {
  std::vector<std::string> folders;
  const char* variable = std::getenv("FEWBIT_CUDA_LIB_DIR");
  std::istringstream list(variable ? variable : "");
  for (std::string folder; std::getline(list, folder, ':');) {
    if (folder.empty()) continue;
    folders.push_back(folder);
    add_matches(folder + "/nvidia/*/lib", folders);  // Python wheels in a site-packages folder
    add_matches(folder + "/*/lib", folders);         // ... or in its nvidia folder
  }
  return folders;
}

std::vector<std::string> standard_folders() {
  std::vector<std::string> folders;
  if (const char* home = std::getenv("CUDA_HOME")) folders.push_back(std::string(home) + "/lib64");
  folders.emplace_back("/usr/local/cuda/lib64");
  add_matches("/usr/local/cuda-*/targets/*/lib", folders);
  return folders;
}

void* open_from(const std::vector<std::string>& folders) {
  for (const std::string& folder : folders) {
    for (const char* name : kNames) {
      if (void* library = dlopen((folder + "/" + name).c_str(), RTLD_LAZY | RTLD_LOCAL)) {
        return library;
      }
    }
  }
  return nullptr;
}

void* open_library() {
  if (void* library = open_from(user_folders())) return library;
  for (const char* name : kNames) {
    if (void* library = dlopen(name, RTLD_LAZY | RTLD_LOCAL)) return library;
  }
  return open_from(standard_folders());
}

template <class Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

bool find_all(void* library, lt::Functions& f) {
  find(library, "cublasLtGetStatusString", f.GetStatusString);
  return find(library, "cublasLtGetVersion", f.GetVersion) &&
         find(library, "cublasLtCreate", f.Create) && find(library, "cublasLtDestroy", f.Destroy) &&
         find(library, "cublasLtMatmulDescCreate", f.MatmulDescCreate) &&
         find(library, "cublasLtMatmulDescDestroy", f.MatmulDescDestroy) &&
         find(library, "cublasLtMatmulDescSetAttribute", f.MatmulDescSetAttribute) &&
         find(library, "cublasLtMatrixLayoutCreate", f.MatrixLayoutCreate) &&
         find(library, "cublasLtMatrixLayoutDestroy", f.MatrixLayoutDestroy) &&
         find(library, "cublasLtMatmulPreferenceCreate", f.MatmulPreferenceCreate) &&
         find(library, "cublasLtMatmulPreferenceDestroy", f.MatmulPreferenceDestroy) &&
         find(library, "cublasLtMatmulPreferenceSetAttribute", f.MatmulPreferenceSetAttribute) &&
         find(library, "cublasLtMatmulAlgoGetHeuristic", f.MatmulAlgoGetHeuristic) &&
         find(library, "cublasLtMatmul", f.Matmul);
}

std::string file_of(void* symbol) {
  Dl_info info{};
  return dladdr(symbol, &info) && info.dli_fname ? info.dli_fname : "an unknown file";
}

// 130100 is 13.1.0; releases before 11.9 counted a major as 1000: 11605 is 11.6.5.
size_t major_unit(size_t version) { return version < 100000 ? 1000 : 10000; }

std::string version_text(size_t version) {
  const size_t unit = major_unit(version);
  char text[64];
  std::snprintf(text, sizeof(text), "%zu.%zu.%zu", version / unit, version % unit / 100,
                version % 100);
  return text;
}

CublasLtLibrary search() {
  CublasLtLibrary result;
  void* library = open_library();
  if (!library) {
    result.report =
        "cuBLASLt was not found (libcublasLt.so.13, .12 or .11), so fewbit's own matrix kernels "
        "are used: install CUDA's libraries or name their folder in FEWBIT_CUDA_LIB_DIR";
    return result;
  }
  if (!find_all(library, result.functions)) {
    result.report =
        "the libcublasLt that was found lacks functions this version of fewbit needs, "
        "so its own matrix kernels are used";
    return result;
  }
  const size_t version = result.functions.GetVersion();
  const size_t major = version / major_unit(version);
  const std::string name = "cuBLASLt " + version_text(version) + " (" +
                           file_of(reinterpret_cast<void*>(result.functions.Matmul)) + ")";
  result.usable = major >= 11 && major <= 13;
  result.report = result.usable ? name + " is used"
                                : name + " is not used: only majors 11, 12 and 13 are known";
  return result;
}

}  // namespace

const CublasLtLibrary& cublaslt_library() {
  static const CublasLtLibrary library = search();
  return library;
}

void cublaslt_report(char* text, size_t size) {
  if (size == 0) return;
  try {
    std::snprintf(text, size, "%s", cublaslt_library().report.c_str());
  } catch (...) {
    std::snprintf(text, size, "cuBLASLt could not be searched for");
  }
}

}  // namespace fewbit::cuda
