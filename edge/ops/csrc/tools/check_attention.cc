// Compares a kernel's attention with the scalar kernel's, over every type of cache.
#include <cinttypes>
#include <cmath>
#include <cstdio>

#include "core/attention.h"
#include "tools/checks.h"

namespace edge {
namespace {

struct NamedType {
  CacheType cache;
  const char* name;
  int64_t head_step;  // head sizes are multiples of it
  int64_t in_byte;    // integers in a byte
};

constexpr NamedType kTypes[] = {{CacheType::kFloat32, "float32", 2, 0},
                                {CacheType::kInt8, "int8", 4, 1},
                                {CacheType::kInt4, "int4", 8, 2}};

AttentionShape random_shape(int64_t step, Random* random) {
  AttentionShape s{};
  s.kv_heads = random->between(1, 3);
  s.heads = s.kv_heads * random->between(1, 6);
  s.head_dim = random->chance(70) ? 64 : random->between(1, kMaxHeadDim / step) * step;
  s.positions = random->between(1, 300);
  s.capacity = (s.positions + kTile - 1) / kTile * kTile;
  s.tokens = random->chance(50) ? 1 : random->between(1, s.positions < 40 ? s.positions : 40);
  s.start_pos = random->between(0, s.positions - s.tokens);
  if (random->chance(40)) {  // caches as large as the window, or a little larger
    s.window = random->between(1, 200);
    s.capacity = (s.window + kTile - 1) / kTile * kTile + random->between(0, 2) * kTile;
  }
  return s;
}

std::string describe(const AttentionShape& s, const char* type) {
  char text[200];
  std::snprintf(text, sizeof(text),
                "attention of %" PRId64 " tokens at %" PRId64 " of %" PRId64 ", window %" PRId64 ", %" PRId64
                " heads over %" PRId64 " of %" PRId64 ", %s caches",
                s.tokens, s.start_pos, s.positions, s.window, s.heads, s.kv_heads, s.head_dim, type);
  return text;
}

// The caches of a job. floats: K and V, or for integers the scales of K and V; bytes: the integer K and V.
struct Caches {
  std::vector<float> floats;
  std::vector<int8_t> bytes;
};

Caches random_caches(const AttentionShape& s, const NamedType& type, Random* random) {
  const int64_t rows = s.capacity * s.kv_heads;
  if (type.cache == CacheType::kFloat32) return {random->values(2 * rows * s.head_dim), {}};
  Caches caches{random->values(2 * rows, 0.01f), {}};
  const bool damaged = random->chance(10);  // no op writes a negative scale
  for (float& scale : caches.floats) scale = damaged ? scale : std::fabs(scale);
  const bool extreme = random->chance(30);
  for (int64_t i = 0; i < 2 * rows * s.head_dim / type.in_byte; ++i) {
    const int64_t value = extreme ? random->between(0, 1) * 254 - 127 : random->between(-127, 127);
    caches.bytes.push_back(static_cast<int8_t>(value));
  }
  return caches;
}

// Runs attention and returns everything that it wrote: the output and the caches.
std::vector<float> run(AttentionJob job, Caches caches, const Kernel& kernel) {
  const AttentionShape& s = job.shape;
  std::vector<float> out(static_cast<size_t>(s.tokens * s.heads * s.head_dim));
  float *first = caches.floats.data(), *second = first + caches.floats.size() / 2;
  int8_t* bytes = caches.bytes.data();
  if (job.cache != CacheType::kFloat32) {
    job.integers = {bytes, bytes + caches.bytes.size() / 2, first, second};
  } else {
    job.floats = {first, second};
  }
  job.out = out.data();
  Error error;
  if (!attention(job, kernel, serial(), &error)) std::printf("%s\n", error.message);
  out.insert(out.end(), caches.floats.begin(), caches.floats.end());
  out.insert(out.end(), caches.bytes.begin(), caches.bytes.end());
  return out;
}

bool check_caches(const NamedType& type, const Kernel& kernel, Random* random, Tally* tally) {
  AttentionJob job{};
  const AttentionShape s = job.shape = random_shape(type.head_step, random);
  const std::vector<float> qkv =
      random->values(s.tokens * (s.heads + 2 * s.kv_heads) * s.head_dim, random->chance(20) ? 100.0f : 3.0f);
  const std::vector<float> cos = random->values(s.positions * s.head_dim / 2);
  const std::vector<float> sin = random->values(s.positions * s.head_dim / 2);
  job.qkv = qkv.data();
  job.cos = cos.data();
  job.sin = sin.data();
  job.cache = type.cache;
  if (random->chance(30)) job.cap = random->chance(50) ? 50.0f : 2.0f;
  const Caches caches = random_caches(s, type, random);
  return tally->same(kernel, describe(s, type.name), run(job, caches, kScalar), run(job, caches, kernel));
}

}  // namespace

bool check_attention(const Kernel& kernel, Random* random, Tally* tally) {
  for (const NamedType& type : kTypes) {
    if (!check_caches(type, kernel, random, tally)) return false;
  }
  return true;
}

}  // namespace edge
