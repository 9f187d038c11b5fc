#include "core/attention.h"

#include "core/limits.h"

namespace edge {
namespace {

using Long = long long;

// Work that is worth waking a thread: positions * D of a head when reading the cache (about 5 us with
// float32), elements of k and v when writing it.
constexpr int64_t kWorkPerThread = 1 << 15;
constexpr int64_t kElementsPerThread = 1 << 14;

bool check_shape(const AttentionShape& s, bool is_int8, Error* error) {
  if (s.heads < 1 || s.heads > kMaxHeads || s.kv_heads < 1 || s.heads % s.kv_heads != 0) {
    return error->fail("attention: %lld heads cannot share %lld kv heads", Long{s.heads}, Long{s.kv_heads});
  }
  if (s.head_dim < 2 || s.head_dim % 2 != 0 || s.head_dim > kMaxHeadDim) {
    return error->fail("attention: head size %lld is not an even number up to %lld", Long{s.head_dim},
                       Long{kMaxHeadDim});
  }
  if (is_int8 && s.head_dim % 4 != 0) {
    return error->fail("attention_int8: head size %lld is not a multiple of 4; use the float32 caches",
                       Long{s.head_dim});
  }
  if (s.capacity < 1 || s.capacity > kMaxPositions || s.capacity % kTile != 0) {
    return error->fail("attention: caches of %lld positions, not a multiple of %lld up to %lld",
                       Long{s.capacity}, Long{kTile}, Long{kMaxPositions});
  }
  const int64_t limit = std::min(s.capacity, s.positions);
  if (s.tokens < 1 || s.start_pos < 0 || s.tokens > limit || s.start_pos > limit - s.tokens) {
    return error->fail("attention: %lld tokens from position %lld on do not fit a cache of %lld",
                       Long{s.tokens}, Long{s.start_pos}, Long{limit});
  }
  return true;
}

}  // namespace

bool attention(const AttentionJob& job, const Kernel& kernel, const ParallelFor& parallel, Error* error) {
  const AttentionShape& s = job.shape;
  if (!check_shape(s, job.is_int8, error)) return false;
  auto write = [&](int64_t begin, int64_t end) { kernel.write_cache(job, begin, end); };
  parallel(s.tokens, grain_for(kElementsPerThread, 2 * s.kv_heads * s.head_dim), write);
  auto read = [&](int64_t begin, int64_t end) { kernel.attend(job, begin, end); };
  const int64_t cost = (s.start_pos + s.tokens) * s.head_dim;
  parallel(s.tokens * s.heads, grain_for(kWorkPerThread, cost), read);
  return true;
}

}  // namespace edge
