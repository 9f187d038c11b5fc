// Attention over an int8 or int4 cache for every kernel whose CPU has vpdpbusd, which multiplies unsigned by
// signed bytes. `V` is a register width, as in linear_lowbit_vnni.h.
#pragma once

#include "kernels/x86/attention_integer_avx2.h"
#include "kernels/x86/linear_lowbit_vnni.h"

namespace edge {
namespace {

constexpr int kHalfWeightBits = 7;
static_assert(kWeightMax < 1 << 2 * kHalfWeightBits);

// The low (kPlane 0) or high (1) codes of an int4 line.
template <class V, int kPlane>
typename V::Bytes codes_of_plane(typename V::Bytes line) {
  return V::mask(kPlane == 0 ? line : V::high_nibbles(line), 15);
}

// sums[query] += the products of a line of keys, one plane of it, with four elements of each query.
template <class V, int kBits, int kPlane, int kQueries>
void add_keys(typename V::Bytes line, const int8_t* q, typename V::Ints* sums) {
  typename V::Bytes key;
  if constexpr (kBits == 8) {
    key = V::flip_top(line);
  } else {
    key = codes_of_plane<V, kPlane>(line);
  }
#pragma GCC unroll 8
  for (int i = 0; i < kQueries; ++i) sums[i] = V::dot(sums[i], key, q + i * kMaxHeadDim);
}

// Scores (primitives_generic.h): a line is 16 positions x 4 bytes. Int8 keys become unsigned by adding 128,
// which a flipped top bit does, and 128 * sum(q) is taken off again.
template <class V, int kBits, int kQueries>
void dot_keys_unsigned(const int8_t* keys, int64_t blocks, int64_t head_dim, const int8_t* q,
                       const int32_t* q_sums, int32_t* scores) {
  const int64_t bytes = head_dim * kBits / 8;
  for (int64_t block = 0; block < blocks; ++block) {
    typename V::Ints sums[kQueries];
    for (int i = 0; i < kQueries; ++i) sums[i] = V::broadcast(kBits == 8 ? -128 * q_sums[i] : 0);
    for (int64_t d = 0; d < bytes; d += 4, keys += 64) {
      const auto* line = reinterpret_cast<const uint8_t*>(keys);
      __builtin_prefetch(line + kTile * bytes);  // the same place of the next tile
      const typename V::Bytes key = V::load(line);
      add_keys<V, kBits, 0, kQueries>(key, q + d, sums);
      if constexpr (kBits == 4) add_keys<V, kBits, 1, kQueries>(key, q + bytes + d, sums);
    }
    for (int i = 0; i < kQueries; ++i) V::store(sums[i], scores + i * kTile + block * kKeyBlock);
  }
}

// Adds kLines lines (16 bytes of a position each), one plane of them, of every quad of positions, weighted,
// for kQueries queries. Weights come in two halves of 7 bits, which are unsigned bytes as vpdpbusd wants
// them.
template <class V, int kBits, int kPlane, int kQueries, int kLines>
void weigh_value_lines(const int8_t* values, int64_t quads, int64_t bytes, const uint8_t* low,
                       const uint8_t* high, int32_t* out) {
  typename V::Ints lows[kQueries][kLines], highs[kQueries][kLines];
  for (int i = 0; i < kQueries; ++i) {
    for (int l = 0; l < kLines; ++l) lows[i][l] = highs[i][l] = typename V::Ints{};
  }
  for (int64_t quad = 0; quad < quads; ++quad, values += bytes * 4, low += 4, high += 4) {
    const auto* line = reinterpret_cast<const uint8_t*>(values);
#pragma GCC unroll 4
    for (int l = 0; l < kLines; ++l) {
      if (kPlane == 0) __builtin_prefetch(line + 64 * l + kTile * bytes);  // the same place of the next tile
      typename V::Bytes value = V::load(line + 64 * l);
      if constexpr (kBits == 4) value = codes_of_plane<V, kPlane>(value);
#pragma GCC unroll 4
      for (int i = 0; i < kQueries; ++i) {
        lows[i][l] = V::dot_signed(lows[i][l], low + i * kTile, value);
        highs[i][l] = V::dot_signed(highs[i][l], high + i * kTile, value);
      }
    }
  }
  for (int i = 0; i < kQueries; ++i) {
    for (int l = 0; l < kLines; ++l) {
      V::store(lows[i][l] + (highs[i][l] << kHalfWeightBits), out + i * kMaxHeadDim + 16 * l);
    }
  }
}

// The same for the last bytes of a position, fewer than 16.
template <class V, int kBits, int kPlane, int kQueries>
void weigh_last_values(const int8_t* values, int64_t quads, int64_t bytes, int64_t count, const uint8_t* low,
                       const uint8_t* high, int32_t* out) {
  alignas(64) int8_t lines[kTile / 4 * 64] = {};
  alignas(64) int32_t sums[kQueries * kMaxHeadDim];
  for (int64_t quad = 0; quad < quads; ++quad) {
    std::memcpy(lines + 64 * quad, values + quad * bytes * 4, static_cast<size_t>(count * 4));
  }
  weigh_value_lines<V, kBits, kPlane, kQueries, 1>(lines, quads, 16, low, high, sums);
  for (int i = 0; i < kQueries; ++i) {
    std::memcpy(out + i * kMaxHeadDim, sums + i * kMaxHeadDim, static_cast<size_t>(count) * sizeof(int32_t));
  }
}

template <class V, int kBits, int kPlane, int kQueries>
void weigh_plane(const int8_t* values, int64_t quads, int64_t bytes, const uint8_t* low, const uint8_t* high,
                 int32_t* sums) {
  constexpr int kLines = V::kValueLines;
  int64_t d = 0;
  for (; d + 16 * kLines <= bytes; d += 16 * kLines) {
    weigh_value_lines<V, kBits, kPlane, kQueries, kLines>(values + d * 4, quads, bytes, low, high, sums + d);
  }
  for (; d + 16 <= bytes; d += 16) {
    weigh_value_lines<V, kBits, kPlane, kQueries, 1>(values + d * 4, quads, bytes, low, high, sums + d);
  }
  if (d < bytes) {
    weigh_last_values<V, kBits, kPlane, kQueries>(values + d * 4, quads, bytes, bytes - d, low, high,
                                                  sums + d);
  }
}

// Weighted sums of values (primitives_generic.h): a line is 16 bytes of a position x 4 positions. Leaves
// negative weights to AVX2.
template <class V, int kBits, int kQueries>
void weigh_values_unsigned(const int8_t* values, int64_t quads, int64_t head_dim, const int16_t* weights,
                           int32_t* sums) {
  alignas(64) uint8_t low[kQueries * kTile], high[kQueries * kTile];
  int32_t all = 0;
  for (int i = 0; i < kQueries * kTile; ++i) {
    all |= weights[i];
    low[i] = static_cast<uint8_t>(weights[i] & ((1 << kHalfWeightBits) - 1));
    high[i] = static_cast<uint8_t>(weights[i] >> kHalfWeightBits);
  }
  if (all < 0) return Avx2Attention::weigh_values<kBits, kQueries>(values, quads, head_dim, weights, sums);
  const int64_t bytes = head_dim * kBits / 8;
  weigh_plane<V, kBits, 0, kQueries>(values, quads, bytes, low, high, sums);
  if constexpr (kBits == 4) weigh_plane<V, kBits, 1, kQueries>(values, quads, bytes, low, high, sums + bytes);
}

// The attention primitives of such a kernel.
template <class V>
struct VnniAttention : Portable {
  template <int kBits, int kQueries>
  static void dot_keys(const int8_t* keys, int64_t blocks, int64_t head_dim, const int8_t* q,
                       const int32_t* q_sums, int32_t* scores) {
    dot_keys_unsigned<V, kBits, kQueries>(keys, blocks, head_dim, q, q_sums, scores);
  }

  template <int kBits, int kQueries>
  static void weigh_values(const int8_t* values, int64_t quads, int64_t head_dim, const int16_t* weights,
                           int32_t* sums) {
    weigh_values_unsigned<V, kBits, kQueries>(values, quads, head_dim, weights, sums);
  }
};

}  // namespace
}  // namespace edge
