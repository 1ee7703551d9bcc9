// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel Random Numbers: As Easy
// as 1, 2, 3" (SC 2011). The same words on the CPU and on CUDA.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define FEWBIT_HOST_DEVICE __host__ __device__
#else
#define FEWBIT_HOST_DEVICE
#endif

namespace fewbit {

// out = four uniformly distributed words, a pure function of counter and key.
// Known answer: counter 0, key 0 -> 6627e8d5 e169c58d bc57ac4c 9b00dbd8.
FEWBIT_HOST_DEVICE inline void philox4x32_10(const uint32_t counter[4], const uint32_t key[2],
                                             uint32_t out[4]) {
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

}  // namespace fewbit

#undef FEWBIT_HOST_DEVICE
