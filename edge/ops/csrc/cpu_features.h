// What this CPU offers and the operating system preserves. The only place that asks.
#pragma once

namespace edge {

struct CpuFeatures {
  bool dotprod = false;  // ARM: sdot and udot
  bool i8mm = false;     // ARM: usdot, usmmla, and dotprod
  bool avx2 = false;     // AVX2 and F16C, and the OS saves the ymm registers
};

const CpuFeatures& cpu_features();

}  // namespace edge
