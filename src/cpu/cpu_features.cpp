#include "cpu_features.h"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace fewbit::cpu {

#if defined(__x86_64__)

namespace {

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

// Which register states the operating system saves (XCR0).
uint64_t saved_states() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

bool bit(unsigned word, int index) { return (word >> index & 1u) != 0; }

}  // namespace

CpuFeatures detect_cpu_features() {
  CpuFeatures found;
  const Registers basic = cpuid(1, 0);
  const bool osxsave = bit(basic.ecx, 27);
  if (!osxsave) return found;
  constexpr uint64_t kAvxState = 0x6, kAvx512State = 0xe6;
  const uint64_t states = saved_states();
  const Registers extended = cpuid(7, 0);
  if ((states & kAvxState) == kAvxState) {
    found.avx2 = bit(extended.ebx, 5);
    found.fma = bit(basic.ecx, 12);
    found.f16c = bit(basic.ecx, 29);
  }
  if ((states & kAvx512State) == kAvx512State) {
    found.avx512f = bit(extended.ebx, 16);
    found.avx512dq = bit(extended.ebx, 17);
    found.avx512bw = bit(extended.ebx, 30);
    found.avx512vl = bit(extended.ebx, 31);
    found.avx512_vnni = bit(extended.ecx, 11);
  }
  return found;
}

#else

CpuFeatures detect_cpu_features() { return {}; }

#endif

std::vector<std::string> CpuFeatures::names() const {
  const struct {
    const char* name;
    bool present;
  } all[] = {{"avx2", avx2},         {"fma", fma},
             {"f16c", f16c},         {"avx512f", avx512f},
             {"avx512bw", avx512bw}, {"avx512vl", avx512vl},
             {"avx512dq", avx512dq}, {"avx512_vnni", avx512_vnni}};
  std::vector<std::string> present;
  for (const auto& feature : all) {
    if (feature.present) present.push_back(feature.name);
  }
  return present;
}

}  // namespace fewbit::cpu
