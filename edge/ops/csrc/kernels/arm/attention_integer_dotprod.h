// Attention over an int8 or int4 cache with dot products of four bytes (sdot). 32 bits of the cache belong to
// one sum: four elements of one key, or four positions of one column of V.
#pragma once

#include "kernels/arm/primitives_neon.h"

namespace edge {
namespace {

// The integers of some bytes: int8, or the low (kPlane 0) or high (1) codes of int4.
template <int kBits, int kPlane>
int8x16_t integers(int8x16_t bytes) {
  if constexpr (kBits == 8) return bytes;
  const uint8x16_t codes = vreinterpretq_u8_s8(bytes);
  return vreinterpretq_s8_u8(kPlane == 0 ? vandq_u8(codes, vdupq_n_u8(15)) : vshrq_n_u8(codes, 4));
}

// sums[query] += the products of a line of keys, one plane of it, with four elements of each query.
template <int kBits, int kPlane, int kQueries>
void add_keys(const int8_t* line, const int8_t* q, int32x4_t (*sums)[kParts]) {
  int8x16_t keys[kParts];
  for (int part = 0; part < kParts; ++part) keys[part] = integers<kBits, kPlane>(vld1q_s8(line + part * 16));
  for (int query = 0; query < kQueries; ++query) {
    const int8x16_t four = broadcast_quad(q + query * kMaxHeadDim);
    for (int part = 0; part < kParts; ++part) {
      sums[query][part] = vdotq_s32(sums[query][part], keys[part], four);
    }
  }
}

// A position has `bytes` bytes.
template <int kBits, int kQueries>
void dot_key_block(const int8_t* line, int64_t bytes, const int8_t* q, int32_t* scores) {
  int32x4_t sums[kQueries][kParts];
  for (int query = 0; query < kQueries; ++query) {
    for (int part = 0; part < kParts; ++part) sums[query][part] = vdupq_n_s32(0);
  }
  for (int64_t d = 0; d < bytes; d += 4, line += 64) {
    add_keys<kBits, 0, kQueries>(line, q + d, sums);
    if constexpr (kBits == 4) add_keys<kBits, 1, kQueries>(line, q + bytes + d, sums);
  }
  for (int query = 0; query < kQueries; ++query) {
    for (int part = 0; part < kParts; ++part) vst1q_s32(scores + query * kTile + part * 4, sums[query][part]);
  }
}

// Splits weights of 14 bits into two of 7: weight = high * 128 + low.
struct SplitWeights {
  int8_t high[kMaxShared * kTile], low[kMaxShared * kTile];
};
static_assert(kWeightMax == 127 * 128 + 127, "two 7-bit parts");

// Splits `count` weights of one query, rounded up to 8, from `first` on.
inline void split_weights(const int16_t* weights, int64_t first, int64_t count, SplitWeights* split) {
  for (int64_t i = first; i < first + count; i += 8) {
    const int16x8_t w = vld1q_s16(weights + i);
    vst1_s8(split->high + i, vshrn_n_s16(w, 7));
    vst1_s8(split->low + i, vand_s8(vmovn_s16(w), vdup_n_s8(127)));
  }
}

// Sums 4 * kColumnParts columns of one plane of V; quads of positions are `stride` bytes apart.
template <int kBits, int kPlane, int kQueries, int kColumnParts>
void weigh_columns(const int8_t* values, int64_t quads, int64_t stride, const SplitWeights& weights,
                   int32_t* sums) {
  int32x4_t high[kQueries][kColumnParts], low[kQueries][kColumnParts];
  for (int query = 0; query < kQueries; ++query) {
    for (int part = 0; part < kColumnParts; ++part) high[query][part] = low[query][part] = vdupq_n_s32(0);
  }
  for (int64_t quad = 0; quad < quads; ++quad) {
    int8x16_t lanes[kColumnParts];
    for (int part = 0; part < kColumnParts; ++part) {
      lanes[part] = integers<kBits, kPlane>(vld1q_s8(values + quad * stride + part * 16));
    }
    for (int query = 0; query < kQueries; ++query) {
      const int8x16_t w_high = broadcast_quad(weights.high + query * kTile + quad * 4);
      const int8x16_t w_low = broadcast_quad(weights.low + query * kTile + quad * 4);
      for (int part = 0; part < kColumnParts; ++part) {
        high[query][part] = vdotq_s32(high[query][part], lanes[part], w_high);
        low[query][part] = vdotq_s32(low[query][part], lanes[part], w_low);
      }
    }
  }
  for (int query = 0; query < kQueries; ++query) {
    for (int part = 0; part < kColumnParts; ++part) {
      const int32x4_t sum = vaddq_s32(vshlq_n_s32(high[query][part], 7), low[query][part]);
      vst1q_s32(sums + query * kMaxHeadDim + part * 4, sum);
    }
  }
}

template <int kBits, int kPlane, int kQueries>
void weigh_plane(const int8_t* values, int64_t quads, int64_t bytes, const SplitWeights& weights,
                 int32_t* sums) {
  constexpr int kColumnParts = kQueries <= 2 ? 4 : 2;  // 16 sums at a time
  constexpr int64_t kColumns = kColumnParts * 4;
  int64_t d = 0;
  for (; d + kColumns <= bytes; d += kColumns) {
    weigh_columns<kBits, kPlane, kQueries, kColumnParts>(values + d * 4, quads, bytes * 4, weights, sums + d);
  }
  for (; d < bytes; d += 4) {
    weigh_columns<kBits, kPlane, kQueries, 1>(values + d * 4, quads, bytes * 4, weights, sums + d);
  }
}

struct DotAttention : NeonBase {
  template <int kBits, int kQueries>
  static void dot_keys(const int8_t* keys, int64_t blocks, int64_t head_dim, const int8_t* q,
                       const int32_t* /*q_sums*/, int32_t* scores) {
    const int64_t bytes = head_dim * kBits / 8;
    for (int64_t block = 0; block < blocks; ++block) {
      dot_key_block<kBits, kQueries>(keys + block * kKeyBlock * bytes, bytes, q, scores + block * kKeyBlock);
    }
  }

  template <int kBits, int kQueries>
  static void weigh_values(const int8_t* values, int64_t quads, int64_t head_dim, const int16_t* weights,
                           int32_t* sums) {
    const int64_t bytes = head_dim * kBits / 8;
    SplitWeights split;
    for (int query = 0; query < kQueries; ++query) split_weights(weights, query * kTile, quads * 4, &split);
    weigh_plane<kBits, 0, kQueries>(values, quads, bytes, split, sums);
    if constexpr (kBits == 4) weigh_plane<kBits, 1, kQueries>(values, quads, bytes, split, sums + bytes);
  }
};

}  // namespace
}  // namespace edge
