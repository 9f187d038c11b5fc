#include "quantize_act.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "layout.h"

namespace edge {
namespace {

constexpr uint32_t kInfinityBits = 0x7f800000;

// Largest |x| as its bit pattern: integer order equals float order, and NaN sorts above infinity,
// which a float maximum would lose.
uint32_t max_abs_bits(const float* x, int64_t k) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < k; ++i) {
    uint32_t bits;
    std::memcpy(&bits, x + i, sizeof(bits));
    bits &= 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  return largest;
}

}  // namespace

TokenScale quantize_token(const float* x, int64_t k, int64_t k_padded, int8_t* q) {
  const uint32_t bits = max_abs_bits(x, k);
  float largest;
  std::memcpy(&largest, &bits, sizeof(largest));
  const float inverse = kActivationMax / largest;
  if (bits >= kInfinityBits || !(inverse <= std::numeric_limits<float>::max())) {
    std::memset(q, 0, static_cast<size_t>(k_padded));
    return {bits >= kInfinityBits ? std::numeric_limits<float>::quiet_NaN() : 0.0f, 0};
  }
  // Adding 1.5 * 2^23 leaves no fraction bits, so the hardware's rounding is to nearest even.
  constexpr float kRound = 12582912.0f;
  int32_t sum = 0;
  for (int64_t i = 0; i < k; ++i) {
    float rounded = (x[i] * inverse + kRound) - kRound;
    rounded = rounded > kActivationMax ? kActivationMax : rounded;
    rounded = rounded < -kActivationMax ? -kActivationMax : rounded;
    const int32_t value = static_cast<int32_t>(rounded);
    q[i] = static_cast<int8_t>(value);
    sum += value;
  }
  std::memset(q + k, 0, static_cast<size_t>(k_padded - k));
  return {largest / kActivationMax, sum};
}

}  // namespace edge
