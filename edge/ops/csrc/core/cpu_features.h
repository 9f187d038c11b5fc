// Detects the instruction sets that the CPU has and the operating system supports.
#pragma once

namespace edge {

struct CpuFeatures {
  bool dotprod = false;  // ARM: sdot and udot
  bool i8mm = false;     // ARM: usdot, usmmla, and dotprod
  bool avx2 = false;     // AVX2 and F16C, and the OS saves the ymm registers
  bool avxvnni = false;  // avx2, and vpdpbusd on ymm registers
  // AVX-512 F, BW, DQ, VL and VNNI, and the OS saves the zmm and mask registers
  bool avx512vnni = false;
  bool avx512vbmi = false;  // avx512vnni and VBMI
};

const CpuFeatures& cpu_features();

}  // namespace edge
