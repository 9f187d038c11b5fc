// The intrinsics of the VNNI kernels: the compiler's, or with EDGE_EMULATE SIMDe's emulation in plain C++ and
// AVX2, for checks on CPUs without those instructions.
#pragma once

#if defined(EDGE_EMULATE)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>

// The same operation by its AVX-VNNI name.
#define _mm256_dpbusd_avx_epi32 simde_mm256_dpbusd_epi32

// Operations that SIMDe lacks. Our names differ, because the compiler declares the intrinsics anyway.
#define _mm512_cvtepi32_epi16 emulated_cvtepi32_epi16
#define _mm512_cvtph_ps emulated_cvtph_ps
static inline __m256i emulated_cvtepi32_epi16(__m512i a) {
  int32_t lanes[16];
  int16_t low[16];
  _mm512_storeu_si512(lanes, a);
  for (int i = 0; i < 16; ++i) low[i] = static_cast<int16_t>(lanes[i]);
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(low));
}
static inline __m512 emulated_cvtph_ps(__m256i a) {
  const __m256 low = _mm256_cvtph_ps(_mm256_castsi256_si128(a));
  return _mm512_insertf32x8(_mm512_castps256_ps512(low), _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1)), 1);
}
#else
#include <immintrin.h>
#endif
