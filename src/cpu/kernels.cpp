#include "kernels.h"

#include <cstdlib>

#include "../core/error.h"
#include "cpu_features.h"

namespace fewbit::cpu {

namespace {

struct Level {
  const char* name;
  bool (*available)(const CpuFeatures& features);
};

constexpr Level kLevels[] = {
    {"scalar", [](const CpuFeatures&) { return true; }},
    {"avx2", [](const CpuFeatures& f) { return f.avx2 && f.fma && f.f16c; }},
    {"avx512",
     [](const CpuFeatures& f) {
       return f.avx2 && f.fma && f.f16c && f.avx512f && f.avx512bw && f.avx512vl && f.avx512dq;
     }},
};
constexpr int kLevelCount = static_cast<int>(std::size(kLevels));

int choose_level(const CpuFeatures& features) {
  int best = 0;
#ifdef FEWBIT_X86_SIMD
  while (best + 1 < kLevelCount && kLevels[best + 1].available(features)) ++best;
#endif
  const char* forced = std::getenv("FEWBIT_CPU_ISA");
  if (!forced || !*forced) return best;
  for (int level = 0; level < kLevelCount; ++level) {
    if (std::string(forced) != kLevels[level].name) continue;
    if (level <= best) return level;
    throw Error("ERR_FEWBIT_CPU_ISA",
                std::string("FEWBIT_CPU_ISA=") + forced +
                    " is not available here; the best level of this processor and build is " +
                    kLevels[best].name);
  }
  throw Error("ERR_FEWBIT_CPU_ISA", std::string("FEWBIT_CPU_ISA=") + forced +
                                        " is unknown; use scalar, avx2 or avx512, or leave it "
                                        "unset for the best available");
}

struct Chosen {
  const char* name;
  Kernels table{};
};

const Chosen& chosen() {
  static const Chosen choice = [] {
    const CpuFeatures features = detect_cpu_features();
    const int level = choose_level(features);
    Chosen made{kLevels[level].name};
    use_scalar(made.table);
#ifdef FEWBIT_X86_SIMD
    if (level >= 1) use_avx2(made.table);
    if (level >= 2) use_avx512(made.table);
    if (level >= 2 && features.avx512_vnni) use_avx512_vnni(made.table);
#endif
    return made;
  }();
  return choice;
}

}  // namespace

const Kernels& kernels() { return chosen().table; }

const char* cpu_isa() { return chosen().name; }

std::vector<std::string> cpu_features() { return detect_cpu_features().names(); }

}  // namespace fewbit::cpu
