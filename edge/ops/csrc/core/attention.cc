#include "core/attention.h"

#include "core/limits.h"

namespace edge {
namespace {

using Long = long long;

// Work that is worth waking a thread: positions * D of a head when reading the cache (about 5 us with
// float32), elements of k and v when writing it.
constexpr int64_t kWorkPerThread = 1 << 15;
constexpr int64_t kElementsPerThread = 1 << 14;

bool check_shape(const AttentionShape& s, CacheType cache, Error* error) {
  if (s.heads < 1 || s.heads > kMaxHeads || s.kv_heads < 1 || s.heads % s.kv_heads != 0) {
    return error->fail("attention: %lld heads cannot share %lld kv heads", Long{s.heads}, Long{s.kv_heads});
  }
  if (s.head_dim < 2 || s.head_dim % 2 != 0 || s.head_dim > kMaxHeadDim) {
    return error->fail("attention: head size %lld is not an even number up to %lld", Long{s.head_dim},
                       Long{kMaxHeadDim});
  }
  const int multiple = cache == CacheType::kInt8 ? 4 : cache == CacheType::kInt4 ? 8 : 2;
  if (s.head_dim % multiple != 0) {
    return error->fail("attention_int%d: head size %lld is not a multiple of %d; use the float32 caches",
                       32 / multiple, Long{s.head_dim}, multiple);
  }
  if (s.capacity < 1 || s.capacity > kMaxPositions || s.capacity % kTile != 0) {
    return error->fail("attention: caches of %lld positions, not a multiple of %lld up to %lld",
                       Long{s.capacity}, Long{kTile}, Long{kMaxPositions});
  }
  if (s.window < 0 || s.window > kMaxPositions) {
    return error->fail("attention: a window of %lld positions is out of range", Long{s.window});
  }
  const bool wraps = s.window > 0 && s.window <= s.capacity;
  const int64_t limit = wraps ? s.positions : std::min(s.capacity, s.positions);
  if (s.tokens < 1 || s.start_pos < 0 || s.tokens > limit || s.start_pos > limit - s.tokens) {
    return error->fail("attention: %lld tokens from position %lld on do not fit a cache of %lld",
                       Long{s.tokens}, Long{s.start_pos}, Long{limit});
  }
  return true;
}

// Writes some tokens into the caches, then attends.
void attend_tokens(const AttentionJob& job, const Kernel& kernel, const ParallelFor& parallel) {
  const AttentionShape& s = job.shape;
  auto write = [&](int64_t begin, int64_t end) { kernel.write_cache(job, begin, end); };
  parallel(s.tokens, grain_for(kElementsPerThread, 2 * s.kv_heads * s.head_dim), write);
  auto read = [&](int64_t begin, int64_t end) { kernel.attend(job, begin, end); };
  const int64_t seen = s.start_pos + s.tokens;
  const int64_t cost = (s.window > 0 ? std::min(s.window, seen) : seen) * s.head_dim;
  parallel(s.tokens * s.heads, grain_for(kWorkPerThread, cost), read);
}

}  // namespace

bool attention(const AttentionJob& job, const Kernel& kernel, const ParallelFor& parallel, Error* error) {
  const AttentionShape& s = job.shape;
  if (!check_shape(s, job.cache, error)) return false;
  if (!(job.cap >= 0)) return error->fail("attention: a cap of %g is not one", static_cast<double>(job.cap));
  const int64_t all = s.start_pos + s.tokens;
  const int64_t step = all <= s.capacity ? s.tokens : s.capacity - s.window + 1;
  for (int64_t first = 0; first < s.tokens; first += step) {
    AttentionJob part = job;
    part.shape.tokens = std::min(step, s.tokens - first);
    part.shape.start_pos = s.start_pos + first;
    part.qkv = job.qkv + first * (s.heads + 2 * s.kv_heads) * s.head_dim;
    part.out = job.out + first * s.heads * s.head_dim;
    attend_tokens(part, kernel, parallel);
  }
  return true;
}

}  // namespace edge
