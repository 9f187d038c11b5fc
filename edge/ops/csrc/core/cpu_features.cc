#include "core/cpu_features.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

#include <cstdint>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace edge {
namespace {

#if defined(__x86_64__) || defined(__i386__)

bool has_all(uint64_t bits, uint64_t wanted) {
  return (bits & wanted) == wanted;
}

// XCR0: the registers that the operating system saves on a context switch.
uint64_t enabled_state() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

CpuFeatures detect() {
  constexpr uint32_t kOsxsave = 1u << 27, kAvx = 1u << 28, kF16c = 1u << 29;  // leaf 1, ecx
  constexpr uint32_t kAvx2 = 1u << 5;                                         // leaf 7, ebx
  constexpr uint32_t kAvx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;     // F, DQ, BW, VL; leaf 7, ebx
  constexpr uint32_t kVbmi = 1u << 1, kVnni = 1u << 11;                       // leaf 7, ecx
  constexpr uint32_t kAvxVnni = 1u << 4;                                      // leaf 7, subleaf 1, eax
  constexpr uint64_t kXmmAndYmm = 0x6, kMasksAndZmm = 0xe0;
  CpuFeatures features;
  uint32_t eax, ebx, ecx, edx;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return features;
  const bool wide = has_all(ecx, kOsxsave | kAvx | kF16c) && has_all(enabled_state(), kXmmAndYmm);
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return features;
  features.avx2 = wide && (ebx & kAvx2);
#if defined(EDGE_EMULATE)
  features.avxvnni = features.avx512vnni = features.avx512vbmi = features.avx2;
  return features;
#endif
  features.avx512vnni = features.avx2 && has_all(ebx, kAvx512) && (ecx & kVnni) &&
                        has_all(enabled_state(), kXmmAndYmm | kMasksAndZmm);
  features.avx512vbmi = features.avx512vnni && (ecx & kVbmi);
  if (!__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx)) return features;
  features.avxvnni = features.avx2 && (eax & kAvxVnni);
  return features;
}

#elif defined(__aarch64__) && defined(__linux__)

CpuFeatures detect() {
  CpuFeatures features;
  features.dotprod = getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
  features.i8mm = features.dotprod && (getauxval(AT_HWCAP2) & HWCAP2_I8MM);
  return features;
}

#else

CpuFeatures detect() {
  return {};
}

#endif

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

}  // namespace edge
