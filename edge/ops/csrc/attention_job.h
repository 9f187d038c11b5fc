// What the attention op is asked to do: plain structs, shared by the op (attention.h) and the kernels.
#pragma once

#include <cstdint>

namespace edge {

inline constexpr int64_t kMaxHeadDim = 256;
inline constexpr int64_t kTile = 64;          // positions; fixed, so results are too
inline constexpr int64_t kKeyBlock = 16;      // positions in a line of K
inline constexpr int kMaxShared = 4;          // queries that meet one load of K or V
inline constexpr int32_t kWeightMax = 16383;  // probabilities against int8 values: 14 bits

struct AttentionShape {
  int64_t tokens;    // T, new tokens in this call
  int64_t heads;     // H, a multiple of kv_heads
  int64_t kv_heads;  // Hkv
  int64_t head_dim;  // D, even, at most kMaxHeadDim
  int64_t max_seq;   // positions in the cache
  int64_t start_pos;
};

struct AttentionJob {
  AttentionShape shape;
  const float* q;    // [T, H, D] before RoPE
  const float* k;    // [T, Hkv, D] before RoPE
  const float* v;    // [T, Hkv, D]
  const float* cos;  // [max_seq, D / 2]
  const float* sin;  // [max_seq, D / 2]
  float* k_cache;    // [max_seq, Hkv, D], written at start_pos .. start_pos + T
  float* v_cache;    // likewise
  float* out;        // [T, H, D]
};

}  // namespace edge
