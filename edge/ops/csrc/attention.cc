#include "attention.h"

#include <cstring>
#include <limits>

#include "math.h"

namespace edge {
namespace {

constexpr int64_t kTile = 64;  // positions per step of the running softmax; fixed, so results are too
constexpr int64_t kWorkPerThread = 1 << 15;

bool check_shape(const AttentionShape& s, Error* error) {
  if (s.tokens < 1 || s.heads < 1 || s.kv_heads < 1 || s.max_seq < 1 || s.heads % s.kv_heads != 0) {
    return error->fail("attention: %lld heads cannot share %lld kv heads", static_cast<long long>(s.heads),
                       static_cast<long long>(s.kv_heads));
  }
  if (s.head_dim < 2 || s.head_dim % 2 != 0 || s.head_dim > kMaxHeadDim) {
    return error->fail("attention: head size %lld is not an even number up to %lld",
                       static_cast<long long>(s.head_dim), static_cast<long long>(kMaxHeadDim));
  }
  if (s.start_pos < 0 || s.tokens > s.max_seq || s.start_pos > s.max_seq - s.tokens) {
    return error->fail("attention: positions %lld to %lld do not fit a cache of %lld",
                       static_cast<long long>(s.start_pos),
                       static_cast<long long>(s.start_pos) + static_cast<long long>(s.tokens) - 1,
                       static_cast<long long>(s.max_seq));
  }
  return true;
}

void rotate(const float* in, const float* cos, const float* sin, int64_t half, float* out) {
  for (int64_t i = 0; i < half; ++i) {
    const float first = in[i], second = in[i + half];
    out[i] = first * cos[i] - second * sin[i];
    out[i + half] = second * cos[i] + first * sin[i];
  }
}

void write_cache(const AttentionShape& s, const AttentionTensors& t, int64_t token) {
  const int64_t position = s.start_pos + token, half = s.head_dim / 2;
  for (int64_t head = 0; head < s.kv_heads; ++head) {
    const int64_t from = (token * s.kv_heads + head) * s.head_dim;
    const int64_t to = (position * s.kv_heads + head) * s.head_dim;
    rotate(t.k + from, t.cos + position * half, t.sin + position * half, half, t.k_cache + to);
    std::memcpy(t.v_cache + to, t.v + from, static_cast<size_t>(s.head_dim) * sizeof(float));
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
void add_tile(const float* query, const float* keys, const float* values, int64_t count, int64_t stride,
              int64_t head_dim, RunningSoftmax* state) {
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

void attend(const AttentionShape& s, const AttentionTensors& t, int64_t token, int64_t head) {
  const int64_t position = s.start_pos + token, half = s.head_dim / 2;
  const int64_t stride = s.kv_heads * s.head_dim;
  const int64_t column = head / (s.heads / s.kv_heads) * s.head_dim;
  const int64_t row = (token * s.heads + head) * s.head_dim;
  float query[kMaxHeadDim];
  rotate(t.q + row, t.cos + position * half, t.sin + position * half, half, query);
  RunningSoftmax state;
  for (int64_t first = 0; first <= position; first += kTile) {
    const int64_t count = std::min(kTile, position + 1 - first);
    const int64_t offset = first * stride + column;
    add_tile(query, t.k_cache + offset, t.v_cache + offset, count, stride, s.head_dim, &state);
  }
  for (int64_t d = 0; d < s.head_dim; ++d) t.out[row + d] = state.weighted[d] / state.total;
}

}  // namespace

bool attention(const AttentionShape& shape, const AttentionTensors& tensors, const ParallelFor& parallel,
               Error* error) {
  if (!check_shape(shape, error)) return false;
  auto write = [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) write_cache(shape, tensors, token);
  };
  parallel(shape.tokens, grain_for(kWorkPerThread, shape.kv_heads * shape.head_dim), write);
  auto read = [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      attend(shape, tensors, item / shape.heads, item % shape.heads);
    }
  };
  const int64_t cost = (shape.start_pos + shape.tokens) * shape.head_dim;
  parallel(shape.tokens * shape.heads, grain_for(kWorkPerThread, cost), read);
  return true;
}

}  // namespace edge
