// The running softmax of attention, for all instruction sets. Every step is elementwise or goes through 16
// fixed lanes in a fixed order, so all copies give the same bits.
#pragma once

#include <cstring>
#include <limits>

#include "core/deterministic_math.h"
#include "kernels/generic/float_rows_generic.h"
#include "kernels/generic/float_vector_generic.h"
#include "kernels/generic/kernel.h"

namespace edge {
namespace {

// Returns 2^x for x <= 0 with a relative error below 2e-7, 2^-126 for x <= -126, NaN for NaN. x = n + f with
// |f| <= 0.5; 2^f is a polynomial that is 1 at 0, fitted for the least relative error (1.1e-7).
inline Floats exp2_of_nonpositive(Floats x) {
  constexpr float kRound = 12582912.0f + 127.0f;  // 1.5 * 2^23: the sum has no fraction bits
  x = x < -126.0f ? splat(-126.0f) : x;
  const Floats shifted = x + kRound;
  const Floats power = (Floats)((Words)shifted << 23);  // the low 8 bits are n + 127
  const Floats f = x - (shifted - kRound);
  Floats sum = splat(0.00132647203f);
  sum = sum * f + 0.00967151392f;
  sum = sum * f + 0.0555073395f;
  sum = sum * f + 0.240222424f;
  sum = sum * f + 0.693147004f;
  sum = sum * f + 1.0f;
  return sum * power;
}

// Softmax over the positions seen so far (Milakov and Gimelshein, arXiv 1805.02867), in powers of 2: the
// largest score, the sum of 2^(score - largest) in 16 lanes, and the sum of 2^(score - largest) * value.
struct RunningSoftmax {
  float largest;
  alignas(64) float total[kSumLanes];
  alignas(64) float weighted[kMaxHeadDim];
};

inline void start_softmax(RunningSoftmax* state) {
  state->largest = -std::numeric_limits<float>::infinity();
  std::memset(state->total, 0, sizeof(state->total));
  std::memset(state->weighted, 0, sizeof(state->weighted));
}

// Returns the largest lane. Folds halves onto each other, which needs few steps and stays in registers.
template <int kLanes, class Value>
Value largest_of(const Value* lanes) {
  if constexpr (kLanes == 1) {
    return lanes[0];
  } else {
    constexpr int kHalf = kLanes / 2;
    typedef Value Half __attribute__((vector_size(kHalf * sizeof(Value))));
    Half low, high;
    std::memcpy(&low, lanes, sizeof(low));
    std::memcpy(&high, lanes + kHalf, sizeof(high));
    low = high > low ? high : low;
    return largest_of<kHalf>(reinterpret_cast<const Value*>(&low));
  }
}

// Ignores NaN scores; their weights, and so the total, become NaN anyway.
inline float largest_score(const float* scores, float largest) {
  Floats lanes = splat(largest);
  for (int64_t i = 0; i < kTile; i += kFloats) {
    const Floats some = load_floats(scores + i);
    lanes = some > lanes ? some : lanes;
  }
  return largest_of<kFloats>(reinterpret_cast<const float*>(&lanes));
}

// Returns the largest magnitude as its bit pattern; NaN sorts above infinity there.
inline int32_t largest_bits(const float* values) {
  Ints lanes = {};
  for (int64_t i = 0; i < kTile; i += kFloats) {
    const Ints bits = (Ints)load_floats(values + i) & 0x7fffffff;
    lanes = bits > lanes ? bits : lanes;
  }
  return largest_of<kFloats>(reinterpret_cast<const int32_t*>(&lanes));
}

// Caps the scores of some queries, in units of ln 2: cap * tanh(score / cap), with
// tanh(x) = 1 - 2 / (1 + e^2x). The error is about 1e-7 of the cap.
template <int kQueries>
void cap_scores(float (*scores)[kTile], float cap) {
  const float unit = cap * 1.44269504f, twice = 2.0f / unit;
  for (int i = 0; i < kQueries; ++i) {
    for (int64_t p = 0; p < kTile; p += kFloats) {
      const Floats power = exp_of(load_floats(scores[i] + p) * twice);
      store_floats(scores[i] + p, (1.0f - 2.0f / (1.0f + power)) * unit);
    }
  }
}

// Turns the scores of some queries, in units of ln 2, into weights 2^(score - largest), and those before
// starts[i] and from counts[i] on into 0. `weighted` of the earlier tiles must be multiplied by shrink[i].
// Each step runs for all queries before the next step, so that the CPU can overlap them.
template <int kQueries>
void weigh_scores(float (*scores)[kTile], const int64_t* starts, const int64_t* counts, RunningSoftmax* state,
                  float* shrink) {
  float largest[kQueries];
  for (int i = 0; i < kQueries; ++i) {
    for (int64_t p = 0; p < starts[i]; ++p) scores[i][p] = -std::numeric_limits<float>::infinity();
    for (int64_t p = counts[i]; p < kTile; ++p) scores[i][p] = -std::numeric_limits<float>::infinity();
    largest[i] = largest_score(scores[i], state[i].largest);
  }
  for (int i = 0; i < kQueries; ++i) {
    shrink[i] = exp2_of_nonpositive(splat(state[i].largest - largest[i]))[0];
    state[i].largest = largest[i];
    for (int64_t p = 0; p < kTile; p += kFloats) {
      store_floats(scores[i] + p, exp2_of_nonpositive(load_floats(scores[i] + p) - largest[i]));
    }
    for (int64_t p = 0; p < starts[i]; ++p) scores[i][p] = 0.0f;
    for (int64_t p = counts[i]; p < kTile; ++p) scores[i][p] = 0.0f;
  }
  for (int i = 0; i < kQueries; ++i) {
    for (int64_t lane = 0; lane < kSumLanes; lane += kFloats) {
      const float* at = scores[i] + lane;
      const Floats low = load_floats(at) + load_floats(at + 16);
      const Floats high = load_floats(at + 32) + load_floats(at + 48);
      float* total = state[i].total + lane;
      store_floats(total, load_floats(total) * shrink[i] + (low + high));
    }
  }
}

// Rounds the non-negative weights of a tile to integers up to kWeightMax and returns the unit: weight =
// integer * unit. The unit is NaN if a weight is NaN or inf. All integers are zero if the largest weight is
// below 2^-114, because kWeightMax / largest overflows.
inline float quantize_weights(const float* weights, int16_t* integers) {
  constexpr int32_t kInfinityBits = 0x7f800000;
  constexpr float kLargestFloat = 3.40282347e38f, kMax = static_cast<float>(kWeightMax);
  constexpr float kRound = 12582912.0f;  // adding it rounds to nearest even, into the low bits
  const int32_t bits = largest_bits(weights);
  const float largest = float_from_bits(static_cast<uint32_t>(bits)), inverse = kMax / largest;
  if (bits >= kInfinityBits || !(inverse <= kLargestFloat)) {
    std::memset(integers, 0, kTile * sizeof(int16_t));
    return bits >= kInfinityBits ? float_from_bits(0x7fc00000) : 0.0f;
  }
  // largest * inverse is off by less than 0.01, so nothing exceeds kWeightMax.
  for (int64_t i = 0; i < kTile; ++i) {
    integers[i] = static_cast<int16_t>(bits_from_float(weights[i] * inverse + kRound) & 0xffff);
  }
  return largest / kMax;
}

// Multiplies the weights of some queries by the scales of the values and rounds them to integers.
template <int kQueries>
void quantize_all_weights(float (*weights)[kTile], const float* scales, const int64_t* starts,
                          const int64_t* counts, int16_t* integers, float* units) {
  for (int i = 0; i < kQueries; ++i) {
    for (int64_t p = 0; p < kTile; p += kFloats) {
      store_floats(weights[i] + p, load_floats(weights[i] + p) * load_floats(scales + p));
    }
    for (int64_t p = 0; p < starts[i]; ++p) weights[i][p] = 0.0f;  // the scale may be NaN
    for (int64_t p = counts[i]; p < kTile; ++p) weights[i][p] = 0.0f;
  }
  for (int i = 0; i < kQueries; ++i) units[i] = quantize_weights(weights[i], integers + i * kTile);
}

}  // namespace
}  // namespace edge
