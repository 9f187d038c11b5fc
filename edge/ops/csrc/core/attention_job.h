// What the attention ops are asked to do: plain structs, shared by the op (attention.h) and the kernels.
//
// The caches. S, the positions that a cache has room for, is a multiple of 64, the positions of a step of
// the running softmax; Hkv and D as below.
//
//   float32  K  [Hkv, S/16, D, 16]       a 64-byte line is one element of D for 16 positions side by side,
//            V  [Hkv, S, D]              so that scores need no horizontal sums
//   int8     K  [Hkv, S/16, D/4, 16, 4]  a line is 16 positions x 4 elements: the lanes of vpdpbusd and sdot
//            V  [Hkv, S/4, D, 4]         4 positions side by side, for the sums over positions
//            scales of K and of V, float32 [Hkv, S]: value = int8 * scale
//
// edge/ops/kv_layout.py gives the same shapes to Python.
#pragma once

#include <cstdint>

namespace edge {

inline constexpr int64_t kMaxHeadDim = 256;
inline constexpr int64_t kTile = 64;          // positions; fixed, so results are too
inline constexpr int64_t kKeyBlock = 16;      // positions in a line of K
inline constexpr int kMaxShared = 4;          // queries that meet one load of K or V
inline constexpr int32_t kWeightMax = 16383;  // probabilities against int8 values: 14 bits

struct AttentionShape {
  int64_t tokens;     // T, new tokens in this call
  int64_t heads;      // H, a multiple of kv_heads
  int64_t kv_heads;   // Hkv
  int64_t head_dim;   // D, even, at most kMaxHeadDim; a multiple of 4 for int8 caches
  int64_t capacity;   // S, a multiple of kTile
  int64_t positions;  // rows of cos and sin
  int64_t start_pos;
};

struct FloatCache {
  float *keys, *values;
};

struct Int8Cache {
  int8_t *keys, *values;
  float *key_scales, *value_scales;
};

struct AttentionJob {
  AttentionShape shape;
  const float* qkv;   // [T, (H + 2 * Hkv) * D]: q heads, k heads, v heads, before RoPE
  const float* cos;   // [positions, D / 2]
  const float* sin;   // likewise
  FloatCache floats;  // the caches, written at start_pos .. start_pos + T,
  Int8Cache int8;     // or these, where is_int8
  bool is_int8;
  float* out;  // [T, H, D]
};

}  // namespace edge
