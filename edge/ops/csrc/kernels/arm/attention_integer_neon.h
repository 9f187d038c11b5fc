// Attention over an int8 cache without dot products; int4 codes are unpacked first.
#pragma once

#include "kernels/arm/linear_lowbit_neon.h"

namespace edge {
namespace {

// Computes the scores of 16 keys, 8 elements at a time with gemm_bytes, and 4 at the end if D is no multiple
// of 8.
inline void dot_key_block(const int8_t* keys, int64_t head_dim, const int8_t* q, int32_t* scores) {
  const auto* tile = reinterpret_cast<const uint8_t*>(keys);
  const int64_t pairs = head_dim / 8 * 8;
  std::memset(scores, 0, kKeyBlock * sizeof(int32_t));
  gemm_bytes<0>(tile, pairs, q, scores);
  if (pairs == head_dim) return;
  const int8x16_t four = broadcast_quad(q + pairs);
  for (int part = 0; part < kParts; ++part) {
    const int8x16_t key = vld1q_s8(keys + pairs * 16 + part * 16);
    const int32x4_t rows01 = vpaddlq_s16(vmull_s8(vget_low_s8(key), vget_low_s8(four)));
    add_rows(scores, part, vpaddq_s32(rows01, vpaddlq_s16(vmull_high_s8(key, four))));
  }
}

// Sums four columns of V; quads of positions are `stride` bytes apart.
template <int kQueries>
void weigh_columns(const int8_t* values, int64_t quads, int64_t stride, const int16_t* weights,
                   int32_t* sums) {
  int32x4_t columns[kQueries][4];
  for (int query = 0; query < kQueries; ++query) {
    for (int column = 0; column < 4; ++column) columns[query][column] = vdupq_n_s32(0);
  }
  for (int64_t quad = 0; quad < quads; ++quad) {
    const int8x16_t lanes = vld1q_s8(values + quad * stride);
    const int16x8_t low = vmovl_s8(vget_low_s8(lanes)), high = vmovl_high_s8(lanes);
    for (int query = 0; query < kQueries; ++query) {
      const int16x4_t four = vld1_s16(weights + query * kTile + quad * 4);
      columns[query][0] = vmlal_s16(columns[query][0], vget_low_s16(low), four);
      columns[query][1] = vmlal_s16(columns[query][1], vget_high_s16(low), four);
      columns[query][2] = vmlal_s16(columns[query][2], vget_low_s16(high), four);
      columns[query][3] = vmlal_s16(columns[query][3], vget_high_s16(high), four);
    }
  }
  for (int query = 0; query < kQueries; ++query) {
    const int32x4_t first = vpaddq_s32(columns[query][0], columns[query][1]);
    const int32x4_t second = vpaddq_s32(columns[query][2], columns[query][3]);
    vst1q_s32(sums + query * kMaxHeadDim, vpaddq_s32(first, second));
  }
}

struct MulAttention : NeonBase {
  template <int kBits, int kQueries>
  static void dot_keys(const int8_t* keys, int64_t blocks, int64_t head_dim, const int8_t* q,
                       const int32_t* /*q_sums*/, int32_t* scores) {
    int8_t unpacked[kKeyBlock * kMaxHeadDim];
    for (int64_t block = 0; block < blocks; ++block) {
      const int8_t* lines = whole_bytes<kBits>(keys, block, kKeyBlock * head_dim, unpacked);
      for (int query = 0; query < kQueries; ++query) {
        dot_key_block(lines, head_dim, q + query * kMaxHeadDim, scores + query * kTile + block * kKeyBlock);
      }
    }
  }

  template <int kBits, int kQueries>
  static void weigh_values(const int8_t* values, int64_t quads, int64_t head_dim, const int16_t* weights,
                           int32_t* sums) {
    int8_t unpacked[kTile * kMaxHeadDim];
    const int8_t* bytes = values;
    for (int64_t quad = 0; kBits == 4 && quad < quads; ++quad) {
      bytes = unpacked;
      whole_bytes<kBits>(values, quad, head_dim * 4, unpacked + quad * head_dim * 4);
    }
    for (int64_t d = 0; d < head_dim; d += 4) {
      weigh_columns<kQueries>(bytes + d * 4, quads, head_dim * 4, weights, sums + d);
    }
  }
};

}  // namespace
}  // namespace edge
