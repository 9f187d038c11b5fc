// RMSNorm, SiLU, GELU and the quantisation of activations. Every kernel file compiles its own copy with its
// own instruction set; all give the same bits, because elementwise steps are IEEE operations in a fixed order
// and sums go through 16 fixed lanes (deterministic_math.h).
#pragma once

#include <cmath>
#include <cstring>

#include "core/deterministic_math.h"
#include "kernels/generic/float_vector_generic.h"
#include "kernels/generic/kernel.h"

namespace edge {
namespace {

inline float inverse_rms(const float* x, float eps, int64_t dim) {
  return 1.0f / std::sqrt(dot(x, x, dim) / static_cast<float>(dim) + eps);
}

inline void rms_norm_row(const float* x, const float* weight, float eps, int64_t dim, float* y) {
  const float inverse = inverse_rms(x, eps, dim);
  for (int64_t i = 0; i < dim; ++i) y[i] = (x[i] * inverse) * weight[i];
}

// Computes exp_deterministic (deterministic_math.h) in every lane.
inline Floats exp_of(Floats x) {
  constexpr float kLog2E = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;
  x = x < -104.0f ? splat(-104.0f) : x;
  x = x > 89.0f ? splat(89.0f) : x;
  const Floats shifted = x * kLog2E + kRound;
  const Words n = (Words)shifted - bits_from_float(kRound);
  const Floats whole = shifted - kRound;
  const Floats r = (x - whole * kLn2High) - whole * kLn2Low;
  Floats sum = splat(1.0f / 5040.0f);
  sum = sum * r + 1.0f / 720.0f;
  sum = sum * r + 1.0f / 120.0f;
  sum = sum * r + 1.0f / 24.0f;
  sum = sum * r + 1.0f / 6.0f;
  sum = sum * r + 0.5f;
  sum = sum * r + 1.0f;
  sum = sum * r + 1.0f;
  const Words half = (n >> 1) | (n & 0x80000000u);
  return sum * (Floats)((half + 127u) << 23) * (Floats)((n - half + 127u) << 23);
}

// GELU by its tanh form is x * sigmoid(2 u) with u = sqrt(2 / pi) * (x + 0.044715 x^3); this is -2 u / x.
constexpr float kGeluCube = -0.0713548163f, kGeluLine = -1.59576912f;

// Computes SiLU(gate) * up, or GELU(gate) * up.
inline void gate_mul_row(const float* gate, const float* up, int64_t count, bool gelu, float* y) {
  const int64_t whole = count - count % kFloats;
  for (int64_t i = 0; i < whole; i += kFloats) {
    const Floats g = load_floats(gate + i);
    const Floats power = exp_of(gelu ? (g * g * kGeluCube + kGeluLine) * g : -g);
    store_floats(y + i, g / (1.0f + power) * load_floats(up + i));
  }
  for (int64_t i = whole; i < count; ++i) {
    const float g = gate[i];
    const float power = exp_deterministic(gelu ? (g * g * kGeluCube + kGeluLine) * g : -g);
    y[i] = g / (1.0f + power) * up[i];
  }
}

template <bool kNorm>
float normalized(const float* x, const float* weight, float inverse, int64_t i) {
  return kNorm ? (x[i] * inverse) * weight[i] : x[i];
}

// Returns the largest |x| as its bit pattern. Integers sort like floats there, with NaN above infinity, which
// a float maximum would lose.
template <bool kNorm>
int32_t max_abs_bits(const float* x, const float* weight, float inverse, int64_t k) {
  int32_t largest = 0;
  for (int64_t i = 0; i < k; ++i) {
    const int32_t bits =
        static_cast<int32_t>(bits_from_float(normalized<kNorm>(x, weight, inverse, i)) & 0x7fffffff);
    largest = bits > largest ? bits : largest;
  }
  return largest;
}

// Computes q = round_half_even(x * (127 / max|x|)), clamped, and scale = max|x| / 127. Computes the norm
// twice rather than storing it.
template <bool kNorm>
TokenScale quantize_values(const float* x, const float* weight, float inverse, int64_t k, int64_t q_stride,
                           int8_t* q) {
  constexpr int32_t kInfinityBits = 0x7f800000;
  constexpr float kActMax = 127.0f, kLargestFloat = 3.40282347e38f;
  const int32_t bits = max_abs_bits<kNorm>(x, weight, inverse, k);
  const float largest = float_from_bits(static_cast<uint32_t>(bits));
  const float scale = kActMax / largest;
  if (bits >= kInfinityBits || !(scale <= kLargestFloat)) {
    std::memset(q, 0, static_cast<size_t>(q_stride));
    return {bits >= kInfinityBits ? float_from_bits(0x7fc00000) : 0.0f, 0};
  }
  // Adding 1.5 * 2^23 leaves no fraction bits, so the sum is rounded to nearest even.
  constexpr float kRound = 12582912.0f;
  int32_t sum = 0;
  for (int64_t i = 0; i < k; ++i) {
    float rounded = (normalized<kNorm>(x, weight, inverse, i) * scale + kRound) - kRound;
    rounded = rounded > kActMax ? kActMax : rounded;
    rounded = rounded < -kActMax ? -kActMax : rounded;
    const int32_t value = static_cast<int32_t>(rounded);
    q[i] = static_cast<int8_t>(value);
    sum += value;
  }
  std::memset(q + k, 0, static_cast<size_t>(q_stride - k));
  return {largest / kActMax, sum};
}

inline TokenScale quantize_row(const float* x, const float* norm_weight, float eps, int64_t k,
                               int64_t q_stride, int8_t* q) {
  if (norm_weight == nullptr) return quantize_values<false>(x, nullptr, 0.0f, k, q_stride, q);
  return quantize_values<true>(x, norm_weight, inverse_rms(x, eps, k), k, q_stride, q);
}

}  // namespace
}  // namespace edge
