// Float functions that give the same bits on x86 and ARM: only IEEE operations in a fixed order, no libm exp,
// no fused multiply-add (built with -ffp-contract=off). They are static because every kernel file compiles
// its own copy with its own instruction set.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace edge {

static inline float float_from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

static inline uint32_t bits_from_float(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// Converts the bits of an IEEE half to float, exactly and without branches. Subnormal halves are converted as
// integers, because a process may have told the CPU to treat subnormal floats as zero.
static inline float float_of_half(uint32_t half) {
  const uint32_t magnitude = half & 0x7fff;
  const float subnormal = static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f;
  const uint32_t bits = bits_from_float(subnormal);
  const uint32_t is_special = magnitude >= 0x7c00;  // inf and NaN: the exponent becomes all ones
  const uint32_t normal = (magnitude << 13) + (112u << 23) + is_special * (112u << 23);
  const uint32_t choose = 0u - static_cast<uint32_t>(magnitude < 0x400);
  return float_from_bits((half & 0x8000) << 16 | (bits & choose) | (normal & ~choose));
}

// Returns 2^exponent; the exponent, -126 to 127, is in two's complement.
static inline float power_of_two(uint32_t exponent) {
  return float_from_bits((exponent + 127u) << 23);
}

// e^x with a relative error below 2e-7 (about 2 units in the last place); 0 below -104, inf above
// 88.8, NaN for NaN. x = n ln 2 + r with |r| <= 0.35, and e^r by its Taylor series to r^7: the
// remainder is r^8 / 8! < 6e-9. ln 2 is split in two so that n * kLn2High is exact.
static inline float exp_deterministic(float x) {
  constexpr float kLog2E = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: the sum has no fraction bits
  x = x < -104.0f ? -104.0f : x;
  x = x > 89.0f ? 89.0f : x;
  const float shifted = x * kLog2E + kRound;
  const uint32_t n = bits_from_float(shifted) - bits_from_float(kRound);
  const float whole = shifted - kRound;
  const float r = (x - whole * kLn2High) - whole * kLn2Low;
  float sum = 1.0f / 5040.0f;
  sum = sum * r + 1.0f / 720.0f;
  sum = sum * r + 1.0f / 120.0f;
  sum = sum * r + 1.0f / 24.0f;
  sum = sum * r + 1.0f / 6.0f;
  sum = sum * r + 0.5f;
  sum = sum * r + 1.0f;
  sum = sum * r + 1.0f;
  // Multiply by 2^(n/2) twice, because 2^n can leave the range of float. n / 2 is an arithmetic shift written
  // so that it is defined for every n (n is arbitrary when x is NaN).
  const uint32_t half = (n >> 1) | (n & 0x80000000u);
  return sum * power_of_two(half) * power_of_two(n - half);
}

constexpr int kSumLanes = 16;

// Adds 16 partial sums in the order 16 -> 8 -> 4 -> 2 -> 1, which suits vectors of every width.
static inline float fold_lanes(float* lanes) {
  for (int width = kSumLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

// Returns the sum of a[i] * b[i]; element i goes to partial sum i % 16.
static inline float dot(const float* a, const float* b, int64_t count) {
  float lanes[kSumLanes] = {};
  int64_t i = 0;
  for (; i + kSumLanes <= count; i += kSumLanes) {
    for (int lane = 0; lane < kSumLanes; ++lane) lanes[lane] += a[i + lane] * b[i + lane];
  }
  for (int lane = 0; i < count; ++i, ++lane) lanes[lane] += a[i] * b[i];
  return fold_lanes(lanes);
}

}  // namespace edge
