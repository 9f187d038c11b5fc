// Attention over the KV cache, written once for all instruction sets.
#pragma once

#include <cstring>
#include <limits>

#include "../math.h"
#include "kernel.h"

namespace edge {
namespace {

inline void rotate(const float* in, const float* cos, const float* sin, int64_t half, float* out) {
  for (int64_t i = 0; i < half; ++i) {
    const float first = in[i], second = in[i + half];
    out[i] = first * cos[i] - second * sin[i];
    out[i + half] = second * cos[i] + first * sin[i];
  }
}

// Softmax over positions seen so far: the largest score, the sum of e^(score - largest), and the
// sum of e^(score - largest) * v (Milakov and Gimelshein, arXiv 1805.02867).
struct RunningSoftmax {
  float largest = -std::numeric_limits<float>::infinity();
  float total = 0.0f;
  float weighted[kMaxHeadDim] = {};
};

// Adds `count` positions; keys and values are [count, stride], scores holds kTile floats.
inline void add_tile(const float* query, const float* keys, const float* values, int64_t count,
                     int64_t stride, int64_t head_dim, RunningSoftmax* state) {
  float scores[kTile];
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  float largest = state->largest;
  for (int64_t i = 0; i < count; ++i) {
    scores[i] = dot(query, keys + i * stride, head_dim) * scale;
    largest = scores[i] > largest ? scores[i] : largest;
  }
  const float shrink = state->total == 0.0f ? 0.0f : exp_deterministic(state->largest - largest);
  state->largest = largest;
  state->total *= shrink;
  for (int64_t d = 0; d < head_dim; ++d) state->weighted[d] *= shrink;
  for (int64_t i = 0; i < count; ++i) {
    const float weight = exp_deterministic(scores[i] - largest);
    state->total += weight;
    const float* value = values + i * stride;
    for (int64_t d = 0; d < head_dim; ++d) state->weighted[d] += weight * value[d];
  }
}

inline void attend_head(const AttentionJob& t, int64_t token, int64_t head) {
  const AttentionShape& s = t.shape;
  const int64_t position = s.start_pos + token, half = s.head_dim / 2;
  const int64_t stride = s.kv_heads * s.head_dim;
  const int64_t column = head / (s.heads / s.kv_heads) * s.head_dim;
  const int64_t row = (token * s.heads + head) * s.head_dim;
  float query[kMaxHeadDim];
  rotate(t.q + row, t.cos + position * half, t.sin + position * half, half, query);
  RunningSoftmax state;
  for (int64_t first = 0; first <= position; first += kTile) {
    const int64_t count = position + 1 - first < kTile ? position + 1 - first : kTile;
    const int64_t offset = first * stride + column;
    add_tile(query, t.k_cache + offset, t.v_cache + offset, count, stride, s.head_dim, &state);
  }
  for (int64_t d = 0; d < s.head_dim; ++d) t.out[row + d] = state.weighted[d] / state.total;
}

template <class Isa>
void attend_items(const AttentionJob& job, int64_t begin, int64_t end) {
  for (int64_t item = begin; item < end; ++item) {
    attend_head(job, item / job.shape.heads, item % job.shape.heads);
  }
}

}  // namespace
}  // namespace edge
