#include "attention.h"

#include <cstring>

namespace edge {
namespace {

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

void write_cache(const AttentionJob& t, int64_t token) {
  const AttentionShape& s = t.shape;
  const int64_t position = s.start_pos + token, half = s.head_dim / 2;
  for (int64_t head = 0; head < s.kv_heads; ++head) {
    const int64_t from = (token * s.kv_heads + head) * s.head_dim;
    const int64_t to = (position * s.kv_heads + head) * s.head_dim;
    rotate(t.k + from, t.cos + position * half, t.sin + position * half, half, t.k_cache + to);
    std::memcpy(t.v_cache + to, t.v + from, static_cast<size_t>(s.head_dim) * sizeof(float));
  }
}

}  // namespace

bool attention(const AttentionJob& job, const Kernel& kernel, const ParallelFor& parallel, Error* error) {
  const AttentionShape& shape = job.shape;
  if (!check_shape(shape, error)) return false;
  auto write = [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) write_cache(job, token);
  };
  parallel(shape.tokens, grain_for(kWorkPerThread, shape.kv_heads * shape.head_dim), write);
  auto read = [&](int64_t begin, int64_t end) { kernel.attend(job, begin, end); };
  const int64_t cost = (shape.start_pos + shape.tokens) * shape.head_dim;
  parallel(shape.tokens * shape.heads, grain_for(kWorkPerThread, cost), read);
  return true;
}

}  // namespace edge
