// The inputs of the attention ops as plain structs, and the layout of the KV caches.
//
// S is the number of positions that a cache holds, a multiple of 64 (kTile); Hkv and D are as below.
//
//   float32  K  [Hkv, S/16, D, 16]       a 64-byte line is one element of D for 16 positions, so that scores
//            V  [Hkv, S, D]              need no horizontal sums
//   int8     K  [Hkv, S/16, D/4, 16, 4]  a line is 16 positions x 4 elements: the lanes of vpdpbusd and sdot
//            V  [Hkv, S/4, D, 4]         4 positions side by side, for the sums over positions
//            scales of K and of V, float32 [Hkv, S]: value = int8 * scale
//   int4     K  [Hkv, S/16, D/8, 16, 4]  as int8, with half as many bytes: the low four bits of byte e are
//            V  [Hkv, S/4, D/2, 4]       the code of element e, the high four that of element e + D/2
//            scales as of int8: value = (2 * code - 15) * scale; keys are Hadamard-transformed (attention.h)
//
// Position p is at index p % S: with a window, S may be smaller than the context, and old positions are
// overwritten.
//
// edge/ops/kv_layout.py has the same shapes for Python.
#pragma once

#include <cstdint>

namespace edge {

inline constexpr int64_t kMaxHeadDim = 256;
inline constexpr int64_t kTile = 64;          // positions per softmax step; fixed, so that results are
inline constexpr int64_t kKeyBlock = 16;      // positions in a line of K
inline constexpr int kMaxShared = 4;          // queries that share a load of K or V
inline constexpr int32_t kWeightMax = 16383;  // softmax weights that multiply integer values: 14 bits
inline constexpr int32_t kInt4Levels = 15;    // level = 2 * code - 15: 16 odd numbers, symmetric

struct AttentionShape {
  int64_t tokens;     // T, new tokens in this call
  int64_t heads;      // H, a multiple of kv_heads
  int64_t kv_heads;   // Hkv
  int64_t head_dim;   // D, even, at most kMaxHeadDim; a multiple of 4 for int8 caches, of 8 for int4
  int64_t capacity;   // S, a multiple of kTile
  int64_t positions;  // rows of cos and sin
  int64_t start_pos;
  int64_t window = 0;  // positions that a token sees, its own included; 0 for all
};

struct FloatCache {
  float *keys, *values;
};

// How keys and values are held.
enum class CacheType { kFloat32, kInt8, kInt4 };

// Int8, or two codes of int4 in a byte.
struct IntegerCache {
  int8_t *keys, *values;
  float *key_scales, *value_scales;
};

struct AttentionJob {
  AttentionShape shape;
  const float* qkv;  // [T, (H + 2 * Hkv) * D]: q heads, k heads, v heads, before RoPE
  const float* cos;  // [positions, D / 2]
  const float* sin;  // [positions, D / 2]
  CacheType cache;
  FloatCache floats;      // the caches, written from start_pos on; used with kFloat32
  IntegerCache integers;  // used with kInt8 and kInt4
  float* out;             // [T, H, D]
  float cap = 0;          // scores s become cap * tanh(s / cap); 0 for none
};

}  // namespace edge
