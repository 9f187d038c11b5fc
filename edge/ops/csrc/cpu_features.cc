#include "cpu_features.h"

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

// XCR0: which register state the operating system saves on a context switch.
uint64_t enabled_state() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

CpuFeatures detect() {
  constexpr uint32_t kOsxsave = 1u << 27, kAvx = 1u << 28, kF16c = 1u << 29;  // leaf 1, ecx
  constexpr uint32_t kAvx2 = 1u << 5;                                         // leaf 7, ebx
  constexpr uint64_t kXmmAndYmm = 0x6;
  CpuFeatures features;
  uint32_t eax, ebx, ecx, edx;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return features;
  const bool has_avx = (ecx & kOsxsave) && (ecx & kAvx) && (enabled_state() & kXmmAndYmm) == kXmmAndYmm;
  const bool has_f16c = ecx & kF16c;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return features;
  features.avx2 = has_avx && has_f16c && (ebx & kAvx2);
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
