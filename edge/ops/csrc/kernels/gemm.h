// What a kernel is: the inner products of one block of 16 rows with some tokens. Kernels compute
// exact integers, or floats in one fixed order, so every kernel gives the same bits; scaling and
// everything else happens once, outside (linear.cc).
//
// Kernel files are compiled with their own instruction-set flags. They must not instantiate inline
// functions from shared headers that other files also use: the linker keeps one copy and might keep
// the one with the newer instructions. Constants and plain structs are fine.
#pragma once

#include <cstdint>

namespace edge {

struct BlockCodes {
  const uint8_t* lines;  // the block's codes, as layout.h describes
  int64_t k_padded;
  int code_bits;
};

struct GemmKernel {
  const char* name;
  bool (*supported)();
  // acc[token * 16 + row] = sum over k of code * q[token * q_stride + k], all of k_padded.
  void (*codes)(const BlockCodes& block, const int8_t* q, int64_t q_stride, int64_t tokens, int32_t* acc);
  // acc[token * 16 + row] = sum of float(half) * x[token * x_stride + k] over 0 <= k < columns,
  // ascending, one rounded multiplication and one rounded addition each.
  void (*halves)(const BlockCodes& block, const float* x, int64_t x_stride, int64_t columns, int64_t tokens,
                 float* acc);
};

extern const GemmKernel kGemmScalar;
#if defined(__x86_64__)
extern const GemmKernel kGemmAvx2;
#endif

}  // namespace edge
