// Causal attention of new tokens over a KV cache, with RoPE and the cache write fused in.
#pragma once

#include <cstdint>

#include "error.h"
#include "parallel.h"

namespace edge {

inline constexpr int64_t kMaxHeadDim = 256;

struct AttentionShape {
  int64_t tokens;    // T, new tokens in this call
  int64_t heads;     // H, a multiple of kv_heads
  int64_t kv_heads;  // Hkv
  int64_t head_dim;  // D, even, at most kMaxHeadDim
  int64_t max_seq;   // positions in the cache
  int64_t start_pos;
};

struct AttentionTensors {
  const float* q;    // [T, H, D] before RoPE
  const float* k;    // [T, Hkv, D] before RoPE
  const float* v;    // [T, Hkv, D]
  const float* cos;  // [max_seq, D / 2]
  const float* sin;  // [max_seq, D / 2]
  float* k_cache;    // [max_seq, Hkv, D], written at start_pos .. start_pos + T
  float* v_cache;    // likewise
  float* out;        // [T, H, D]
};

// Rotates q and k (element i with i + D/2, as Hugging Face does), writes k and v into the caches,
// then attends: token t sees positions 0 .. start_pos + t, scores scaled by 1 / sqrt(D), query head
// h reads kv head h / (H / Hkv). A token's result does not depend on how the prompt was split.
// False and a sentence, with nothing written, when the shape or start_pos is out of range.
bool attention(const AttentionShape& shape, const AttentionTensors& tensors, const ParallelFor& parallel,
               Error* error);

}  // namespace edge
