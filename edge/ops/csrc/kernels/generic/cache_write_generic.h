// RoPE and the write into the KV cache, for all instruction sets.
#pragma once

#include "kernels/generic/float_rows_generic.h"
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

inline void write_int8(const AttentionJob& job, int64_t token, int64_t head) {
  const AttentionShape& s = job.shape;
  const int64_t position = (s.start_pos + token) % s.capacity, dim = s.head_dim;
  const int64_t scale_at = head * s.capacity + position;
  float key[kMaxHeadDim] = {};
  int8_t row[kMaxHeadDim];
  rotate_at(job, token, s.heads + head, key);
  job.int8.key_scales[scale_at] = quantize_values<false>(key, nullptr, 0.0f, dim, dim, row).scale;
  int8_t* lines = job.int8.keys + (head * s.capacity + position / kKeyBlock * kKeyBlock) * dim;
  for (int64_t d = 0; d < dim; d += 4) {
    std::memcpy(lines + d * kKeyBlock + position % kKeyBlock * 4, row + d, 4);
  }
  const float* value = qkv_row(job, token, s.heads + s.kv_heads + head);
  job.int8.value_scales[scale_at] = quantize_values<false>(value, nullptr, 0.0f, dim, dim, row).scale;
  int8_t* quads = job.int8.values + (head * s.capacity + position / 4 * 4) * dim;
  for (int64_t d = 0; d < dim; ++d) quads[d * 4 + position % 4] = row[d];
}

// Writes the rotated keys and the values of tokens [begin, end), head by head, so that a line of K stays
// cached.
inline void write_cache(const AttentionJob& job, int64_t begin, int64_t end) {
  for (int64_t head = 0; head < job.shape.kv_heads; ++head) {
    for (int64_t token = begin; token < end; ++token) {
      if (job.is_int8) {
        write_int8(job, token, head);
      } else {
        write_floats(job, token, head);
      }
    }
  }
}

}  // namespace
}  // namespace edge
