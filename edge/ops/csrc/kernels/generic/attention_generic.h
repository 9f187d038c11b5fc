// Attention over the KV cache, for all instruction sets. Query heads that share a kv head, and neighbouring
// tokens in prefill, go through the cache together, 64 positions (a tile) at a time. Batching does not change
// the order of a query's sums, so it does not change its result.
#pragma once

#include <cmath>

#include "kernels/generic/cache_write_generic.h"
#include "kernels/generic/kernel.h"
#include "kernels/generic/softmax_generic.h"

namespace edge {
namespace {

constexpr int64_t kBatch = 24;  // queries that use a tile while it is in the CPU's cache

// Queries of one kv head, by ascending position.
struct QueryBatch {
  int64_t count;
  int64_t kv_head;
  int64_t row[kBatch];                            // row of the output [T * H, D]
  int64_t from[kBatch];                           // first position that it sees
  int64_t seen[kBatch];                           // and the one behind the last
  alignas(64) float floats[kBatch][kMaxHeadDim];  // scaled by log2(e) / sqrt(D)
  alignas(64) int8_t int8[kBatch][kMaxHeadDim];   // for integer caches: query = int8 * scale
  alignas(64) float scales[kBatch];
  alignas(64) int32_t sums[kBatch];
  RunningSoftmax state[kBatch];
};

// A tile and the part of it that each of some queries sees.
struct Tile {
  int64_t at;                  // where its first position is in the cache
  int64_t starts[kMaxShared];  // each query sees its positions from starts[i] on, up to
  int64_t counts[kMaxShared];  // counts[i], 1 to kTile
  int64_t latest;              // largest of the starts
  int64_t fewest, most;        // smallest and largest of the counts
};

// scores[query][position] = sum over ascending d of q[d] * key[d], for `blocks` blocks of 16 positions.
// Also prefetches the tile's values and the next tile's keys, because the weights of the whole model pushed
// them out of the CPU's cache since the last token.
template <int kQueries>
void dot_float_keys(const float* keys, const float* values, int64_t blocks, int64_t dim,
                    const float (*q)[kMaxHeadDim], float (*scores)[kTile]) {
  constexpr int kParts = kKeyBlock / kFloats;
  for (int64_t block = 0; block < blocks; ++block) {
    Floats sums[kQueries][kParts] = {};
    const float* line = keys + block * kKeyBlock * dim;
    for (int64_t d = 0; d < dim; ++d, line += kKeyBlock) {
      __builtin_prefetch(values + (line - keys));
      __builtin_prefetch(line + kTile * dim);
#pragma GCC unroll 4
      for (int part = 0; part < kParts; ++part) {
        const Floats key = load_floats(line + part * kFloats);
#pragma GCC unroll 4
        for (int i = 0; i < kQueries; ++i) sums[i][part] += q[i][d] * key;
      }
    }
    for (int i = 0; i < kQueries; ++i) {
      for (int part = 0; part < kParts; ++part) {
        store_floats(scores[i] + block * kKeyBlock + part * kFloats, sums[i][part]);
      }
    }
  }
}

// weighted[d] += sum over ascending positions [from, to) of weight * value[position][d], for 16 elements from
// d on.
template <int kQueries>
void add_float_lanes(const float* values, int64_t from, int64_t to, int64_t dim, int64_t d,
                     const float (*weights)[kTile], RunningSoftmax* state) {
  constexpr int kParts = kSumLanes / kFloats;
  Floats sums[kQueries][kParts];
  for (int i = 0; i < kQueries; ++i) {
    for (int part = 0; part < kParts; ++part) {
      sums[i][part] = load_floats(state[i].weighted + d + part * kFloats);
    }
  }
  for (int64_t position = from; position < to; ++position) {
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part) {
      const Floats value = load_floats(values + position * dim + d + part * kFloats);
#pragma GCC unroll 4
      for (int i = 0; i < kQueries; ++i) sums[i][part] += weights[i][position] * value;
    }
  }
  for (int i = 0; i < kQueries; ++i) {
    for (int part = 0; part < kParts; ++part) {
      store_floats(state[i].weighted + d + part * kFloats, sums[i][part]);
    }
  }
}

template <int kQueries>
void add_float_values(const float* values, int64_t from, int64_t to, int64_t dim,
                      const float (*weights)[kTile], RunningSoftmax* state) {
  int64_t d = 0;
  for (; d + kSumLanes <= dim; d += kSumLanes) {
    add_float_lanes<kQueries>(values, from, to, dim, d, weights, state);
  }
  for (; d < dim; ++d) {
    for (int i = 0; i < kQueries; ++i) {
      for (int64_t position = from; position < to; ++position) {
        state[i].weighted[d] += weights[i][position] * values[position * dim + d];
      }
    }
  }
}

template <int kQueries>
void add_float_tile(const AttentionJob& job, const Tile& tile, int64_t query, QueryBatch* batch) {
  const int64_t dim = job.shape.head_dim;
  const int64_t offset = (batch->kv_head * job.shape.capacity + tile.at) * dim;
  alignas(64) float scores[kQueries][kTile];
  const float* values = job.floats.values + offset;
  dot_float_keys<kQueries>(job.floats.keys + offset, values, (tile.most + kKeyBlock - 1) / kKeyBlock, dim,
                           batch->floats + query, scores);
  RunningSoftmax* state = batch->state + query;
  float shrink[kQueries];
  if (job.cap > 0) cap_scores<kQueries>(scores, job.cap);
  weigh_scores<kQueries>(scores, tile.starts, tile.counts, state, shrink);
  for (int i = 0; i < kQueries; ++i) {
    for (int64_t d = 0; d < dim; ++d) state[i].weighted[d] *= shrink[i];
  }
  // Skips positions that a query does not see, because 0 * value may be NaN.
  const int64_t from = tile.latest < tile.fewest ? tile.latest : tile.fewest;
  for (int i = 0; i < kQueries; ++i) {
    const int64_t to = tile.counts[i] < from ? tile.counts[i] : from;
    if (tile.starts[i] < to) add_float_values<1>(values, tile.starts[i], to, dim, scores + i, state + i);
  }
  if (from < tile.fewest) add_float_values<kQueries>(values, from, tile.fewest, dim, scores, state);
  for (int i = 0; i < kQueries; ++i) {
    const int64_t rest = tile.starts[i] > tile.fewest ? tile.starts[i] : tile.fewest;
    if (rest < tile.counts[i]) {
      add_float_values<1>(values, rest, tile.counts[i], dim, scores + i, state + i);
    }
  }
}

// Prefetches the scales of a tile's keys or values.
inline void prefetch_scales(const float* scales) {
  for (int64_t position = 0; position < kTile; position += 16) __builtin_prefetch(scales + position);
}

// Turns a sum of weight * stored integer into the sum of weight * level; weights add up to `weight_sum`.
template <int kBits, class Integers>
Integers level_sum(Integers sum, int32_t weight_sum) {
  if constexpr (kBits == 4) return 2 * sum - kInt4Levels * weight_sum;
  return sum;
}

// The sum of a tile's integer weights, if the levels need it.
template <int kBits>
int32_t sum_of_weights(const int16_t* weights) {
  int32_t sum = 0;
  for (int64_t p = 0; kBits == 4 && p < kTile; ++p) sum += weights[p];
  return sum;
}

template <class Isa, int kBits, int kQueries>
void add_integer_tile(const AttentionJob& job, const Tile& tile, int64_t query, QueryBatch* batch) {
  const int64_t dim = job.shape.head_dim, bytes = dim * kBits / 8;
  const int64_t row = batch->kv_head * job.shape.capacity + tile.at;
  alignas(64) int32_t dots[kQueries * kTile], sums[kQueries * kMaxHeadDim];
  alignas(64) float scores[kQueries][kTile];
  alignas(64) int16_t weights[kQueries * kTile];
  float shrink[kQueries], units[kQueries];
  prefetch_scales(job.integers.key_scales + row + kTile);
  prefetch_scales(job.integers.value_scales + row + kTile);
  Isa::template dot_keys<kBits, kQueries>(job.integers.keys + row * bytes,
                                          (tile.most + kKeyBlock - 1) / kKeyBlock, dim, batch->int8[query],
                                          batch->sums + query, dots);
  const float* key_scales = job.integers.key_scales + row;
  for (int i = 0; i < kQueries; ++i) {
    for (int64_t p = 0; p < tile.counts[i]; p += kFloats) {
      const Ints dot = level_sum<kBits>(load_ints(dots + i * kTile + p), batch->sums[query + i]);
      store_floats(scores[i] + p, to_floats(dot) * load_floats(key_scales + p) * batch->scales[query + i]);
    }
  }
  if (job.cap > 0) cap_scores<kQueries>(scores, job.cap);
  weigh_scores<kQueries>(scores, tile.starts, tile.counts, batch->state + query, shrink);
  quantize_all_weights<kQueries>(scores, job.integers.value_scales + row, tile.starts, tile.counts, weights,
                                 units);
  Isa::template weigh_values<kBits, kQueries>(job.integers.values + row * bytes, (tile.most + 3) / 4, dim,
                                              weights, sums);
  for (int i = 0; i < kQueries; ++i) {
    float* weighted = batch->state[query + i].weighted;
    const int32_t* sum = sums + i * kMaxHeadDim;
    const int32_t weight_sum = sum_of_weights<kBits>(weights + i * kTile);
    for (int64_t d = 0; d < dim; ++d) {
      const auto levels = static_cast<float>(level_sum<kBits>(sum[d], weight_sum));
      weighted[d] = weighted[d] * shrink[i] + levels * units[i];
    }
  }
}

template <class Isa, int kQueries>
void add_tile(const AttentionJob& job, int64_t first, int64_t query, QueryBatch* batch) {
  Tile tile{first % job.shape.capacity, {}, {}, 0, kTile, 0};
  for (int i = 0; i < kQueries; ++i) {
    const int64_t left = batch->seen[query + i] - first, skipped = batch->from[query + i] - first;
    tile.counts[i] = left < kTile ? left : kTile;
    tile.starts[i] = skipped > 0 ? skipped : 0;
    if (tile.starts[i] > tile.latest) tile.latest = tile.starts[i];
    if (tile.counts[i] < tile.fewest) tile.fewest = tile.counts[i];
    if (tile.counts[i] > tile.most) tile.most = tile.counts[i];
  }
  if (job.cache == CacheType::kInt8) {
    add_integer_tile<Isa, 8, kQueries>(job, tile, query, batch);
  } else if (job.cache == CacheType::kInt4) {
    add_integer_tile<Isa, 4, kQueries>(job, tile, query, batch);
  } else {
    add_float_tile<kQueries>(job, tile, query, batch);
  }
}

// Adds a tile to queries [query, end) of a batch, which all see it, up to kMaxShared at a time.
template <class Isa>
void add_tile_to_all(const AttentionJob& job, int64_t first, int64_t query, int64_t end, QueryBatch* batch) {
  while (query < end) {
    const int64_t left = end - query;
    if (left == 3 || left == 5) {  // 5 is 3 and 2, not 4 and 1
      add_tile<Isa, 3>(job, first, query, batch);
      query += 3;
    } else if (left >= 4) {
      add_tile<Isa, 4>(job, first, query, batch);
      query += 4;
    } else if (left == 2) {
      add_tile<Isa, 2>(job, first, query, batch);
      query += 2;
    } else {
      add_tile<Isa, 1>(job, first, query, batch);
      query += 1;
    }
  }
}

inline void add_query(const AttentionJob& job, int64_t token, int64_t head, QueryBatch* batch) {
  const int64_t i = batch->count++, dim = job.shape.head_dim;
  float scale = 1.44269504f / std::sqrt(static_cast<float>(dim));  // log2(e) / sqrt(D)
  float* query = batch->floats[i];
  rotate_at(job, token, head, query);
  if (job.cache == CacheType::kInt4) {
    hadamard_transform(query, dim);
    scale /= static_cast<float>(hadamard_size(dim));
  }
  if (job.cache != CacheType::kFloat32) {
    const TokenScale act = quantize_values<false>(query, nullptr, 0.0f, dim, dim, batch->int8[i]);
    batch->scales[i] = act.scale * scale;
    batch->sums[i] = act.act_sum;
  } else {
    for (int64_t d = 0; d < dim; ++d) query[d] *= scale;
  }
  batch->row[i] = token * job.shape.heads + head;
  const int64_t seen = job.shape.start_pos + token + 1, window = job.shape.window;
  batch->seen[i] = seen;
  batch->from[i] = window > 0 && seen > window ? seen - window : 0;
  start_softmax(batch->state + i);
}

template <class Isa>
void finish_batch(const AttentionJob& job, QueryBatch* batch) {
  const int64_t dim = job.shape.head_dim;
  int64_t query = 0;
  int64_t first = batch->count > 0 ? batch->from[0] / kTile * kTile : 0;
  for (; batch->count > 0 && first < batch->seen[batch->count - 1]; first += kTile) {
    while (batch->seen[query] <= first) ++query;
    int64_t end = batch->count;
    while (end > query && batch->from[end - 1] >= first + kTile) --end;
    add_tile_to_all<Isa>(job, first, query, end, batch);
  }
  for (int64_t i = 0; i < batch->count; ++i) {
    float* out = job.out + batch->row[i] * dim;
    const float total = fold_lanes(batch->state[i].total);
    for (int64_t d = 0; d < dim; ++d) out[d] = batch->state[i].weighted[d] / total;
  }
  batch->count = 0;
}

template <class Isa>
void attend_items(const AttentionJob& job, int64_t begin, int64_t end) {
  const AttentionShape& s = job.shape;
  const int64_t shared = s.heads / s.kv_heads;
  QueryBatch batch;
  batch.count = 0;
  for (batch.kv_head = 0; batch.kv_head < s.kv_heads; ++batch.kv_head) {
    for (int64_t token = begin / s.heads; token * s.heads < end; ++token) {
      for (int64_t head = batch.kv_head * shared; head < (batch.kv_head + 1) * shared; ++head) {
        const int64_t item = token * s.heads + head;
        if (item < begin || item >= end) continue;
        add_query(job, token, head, &batch);
        if (batch.count == kBatch) finish_batch<Isa>(job, &batch);
      }
    }
    finish_batch<Isa>(job, &batch);
  }
}

}  // namespace
}  // namespace edge
