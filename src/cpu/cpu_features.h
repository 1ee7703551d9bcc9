// What the processor offers, as far as the operating system saves its registers.
#pragma once

#include <string>
#include <vector>

namespace fewbit::cpu {

struct CpuFeatures {
  bool avx2 = false;
  bool fma = false;
  bool f16c = false;
  bool avx512f = false;
  bool avx512bw = false;
  bool avx512vl = false;
  bool avx512dq = false;
  bool avx512_vnni = false;

  // The names of those present, in the order above.
  std::vector<std::string> names() const;
};

CpuFeatures detect_cpu_features();

}  // namespace fewbit::cpu
