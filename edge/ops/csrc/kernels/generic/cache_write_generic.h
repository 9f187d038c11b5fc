// RoPE, rounding and the write into the KV cache, for all instruction sets.
#pragma once

#include "kernels/generic/float_rows_generic.h"
#include "kernels/generic/hadamard_generic.h"
#include "kernels/generic/kernel.h"

namespace edge {
namespace {

// Rotates element i with i + D/2, as Hugging Face does.
inline void rotate(const float* in, const float* cos, const float* sin, int64_t half, float* out) {
  for (int64_t i = 0; i < half; ++i) {
    const float first = in[i], second = in[i + half];
    out[i] = first * cos[i] - second * sin[i];
    out[i + half] = second * cos[i] + first * sin[i];
  }
}

inline const float* qkv_row(const AttentionJob& job, int64_t token, int64_t head) {
  const AttentionShape& s = job.shape;
  return job.qkv + (token * (s.heads + 2 * s.kv_heads) + head) * s.head_dim;
}

inline void rotate_at(const AttentionJob& job, int64_t token, int64_t head, float* out) {
  const int64_t half = job.shape.head_dim / 2, row = (job.shape.start_pos + token) * half;
  rotate(qkv_row(job, token, head), job.cos + row, job.sin + row, half, out);
}

inline void write_floats(const AttentionJob& job, int64_t token, int64_t head) {
  const AttentionShape& s = job.shape;
  const int64_t position = (s.start_pos + token) % s.capacity, dim = s.head_dim;
  float key[kMaxHeadDim];
  rotate_at(job, token, s.heads + head, key);
  float* lines = job.floats.keys + (head * s.capacity + position / kKeyBlock * kKeyBlock) * dim;
  for (int64_t d = 0; d < dim; ++d) lines[d * kKeyBlock + position % kKeyBlock] = key[d];
  float* values = job.floats.values + (head * s.capacity + position) * dim;
  std::memcpy(values, qkv_row(job, token, s.heads + s.kv_heads + head),
              static_cast<size_t>(dim) * sizeof(float));
}

// Rounds a row to int4: level = 2 * code - 15 = round(x * 15 / max|x|) to an odd number. Returns the scale.
inline float quantize_int4(const float* x, int64_t dim, int8_t* row) {
  constexpr int32_t kInfinityBits = 0x7f800000;
  constexpr float kHalf = static_cast<float>(kInt4Levels) / 2, kLargestFloat = 3.40282347e38f;
  constexpr float kRound = 12582912.0f;  // adding it rounds to nearest even, into the low bits
  const int64_t bytes = dim / 2;
  const int32_t bits = max_abs_bits<false>(x, nullptr, 0.0f, dim);
  const float largest = float_from_bits(static_cast<uint32_t>(bits)), inverse = kHalf / largest;
  if (bits >= kInfinityBits || !(inverse <= kLargestFloat)) {
    std::memset(row, 0, static_cast<size_t>(bytes));
    return bits >= kInfinityBits ? float_from_bits(0x7fc00000) : 0.0f;
  }
  for (int64_t i = 0; i < bytes; ++i) {  // |x * inverse| is at most 7.5 and a rounding error
    const uint32_t low = bits_from_float((x[i] * inverse + kHalf) + kRound) & 15;
    const uint32_t high = bits_from_float((x[i + bytes] * inverse + kHalf) + kRound) & 15;
    row[i] = static_cast<int8_t>(low | high << 4);
  }
  return largest / static_cast<float>(kInt4Levels);
}

// Rounds a row to dim * kBits / 8 bytes and returns its scale.
template <int kBits>
float quantize_cache_row(const float* x, int64_t dim, int8_t* row) {
  if constexpr (kBits == 4) return quantize_int4(x, dim, row);
  return quantize_values<false>(x, nullptr, 0.0f, dim, dim, row).scale;
}

template <int kBits>
void write_integers(const AttentionJob& job, int64_t token, int64_t head) {
  const AttentionShape& s = job.shape;
  const int64_t position = (s.start_pos + token) % s.capacity, dim = s.head_dim, bytes = dim * kBits / 8;
  const int64_t scale_at = head * s.capacity + position;
  float key[kMaxHeadDim] = {};
  int8_t row[kMaxHeadDim];
  rotate_at(job, token, s.heads + head, key);
  if (kBits == 4) hadamard_transform(key, dim);
  job.integers.key_scales[scale_at] = quantize_cache_row<kBits>(key, dim, row);
  int8_t* lines = job.integers.keys + (head * s.capacity + position / kKeyBlock * kKeyBlock) * bytes;
  for (int64_t i = 0; i < bytes; i += 4) {
    std::memcpy(lines + i * kKeyBlock + position % kKeyBlock * 4, row + i, 4);
  }
  const float* value = qkv_row(job, token, s.heads + s.kv_heads + head);
  job.integers.value_scales[scale_at] = quantize_cache_row<kBits>(value, dim, row);
  int8_t* quads = job.integers.values + (head * s.capacity + position / 4 * 4) * bytes;
  for (int64_t i = 0; i < bytes; ++i) quads[i * 4 + position % 4] = row[i];
}

// Writes the rotated keys and the values of tokens [begin, end), head by head, so that a line of K stays
// cached.
inline void write_cache(const AttentionJob& job, int64_t begin, int64_t end) {
  const auto write = job.cache == CacheType::kInt8   ? write_integers<8>
                     : job.cache == CacheType::kInt4 ? write_integers<4>
                                                     : write_floats;
  for (int64_t head = 0; head < job.shape.kv_heads; ++head) {
    for (int64_t token = begin; token < end; ++token) write(job, token, head);
  }
}

}  // namespace
}  // namespace edge
