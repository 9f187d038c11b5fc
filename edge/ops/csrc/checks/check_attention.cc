// Attention of one kernel against the scalar kernel's.
#include <cinttypes>
#include <cstdio>

#include "attention.h"
#include "checks.h"

namespace edge {
namespace {

AttentionShape random_shape(Random* random) {
  AttentionShape s{};
  s.kv_heads = random->between(1, 3);
  s.heads = s.kv_heads * random->between(1, 3);
  s.head_dim = random->chance(70) ? 64 : random->between(1, kMaxHeadDim / 2) * 2;
  s.max_seq = random->between(1, 300);
  s.tokens = random->chance(50) ? 1 : random->between(1, s.max_seq < 40 ? s.max_seq : 40);
  s.start_pos = random->between(0, s.max_seq - s.tokens);
  return s;
}

std::string describe(const AttentionShape& s) {
  char text[160];
  std::snprintf(text, sizeof(text),
                "attention of %" PRId64 " tokens at %" PRId64 " of %" PRId64 ", %" PRId64
                " heads over %" PRId64 " of %" PRId64,
                s.tokens, s.start_pos, s.max_seq, s.heads, s.kv_heads, s.head_dim);
  return text;
}

// Everything attention wrote: its output and both caches.
std::vector<float> run(AttentionJob job, std::vector<float> cache, const Kernel& kernel) {
  const AttentionShape& s = job.shape;
  std::vector<float> out(static_cast<size_t>(s.tokens * s.heads * s.head_dim));
  job.k_cache = cache.data();
  job.v_cache = cache.data() + cache.size() / 2;
  job.out = out.data();
  Error error;
  if (!attention(job, kernel, serial(), &error)) std::printf("%s\n", error.message);
  out.insert(out.end(), cache.begin(), cache.end());
  return out;
}

}  // namespace

bool check_attention(const Kernel& kernel, Random* random, Tally* tally) {
  AttentionJob job{};
  const AttentionShape s = job.shape = random_shape(random);
  const std::vector<float> q = random->values(s.tokens * s.heads * s.head_dim, 3.0f);
  const std::vector<float> k = random->values(s.tokens * s.kv_heads * s.head_dim, 3.0f);
  const std::vector<float> v = random->values(s.tokens * s.kv_heads * s.head_dim);
  const std::vector<float> cos = random->values(s.max_seq * s.head_dim / 2);
  const std::vector<float> sin = random->values(s.max_seq * s.head_dim / 2);
  job.q = q.data();
  job.k = k.data();
  job.v = v.data();
  job.cos = cos.data();
  job.sin = sin.data();
  const std::vector<float> cache = random->values(2 * s.max_seq * s.kv_heads * s.head_dim);
  return tally->same(kernel, describe(s), run(job, cache, kScalar), run(job, cache, kernel));
}

}  // namespace edge
