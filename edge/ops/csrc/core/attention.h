// Causal attention of new tokens over a KV cache, with RoPE and the cache write fused in.
#pragma once

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/generic/kernel.h"

namespace edge {

// Rotates q and k (element i with i + D/2, as Hugging Face does), writes k and v into the caches,
// then attends: token t sees positions 0 .. start_pos + t, scores scaled by 1 / sqrt(D), query head
// h reads kv head h / (H / Hkv). A token's result does not depend on how the prompt was split.
//
// Int8 caches: a row of k or v is quantised symmetrically with one scale, as activations are; so is q.
// Scores are exact integers times the scales. In a tile of 64 positions, probability times scale of v is
// rounded to 14 bits of the tile's largest and summed with v in exact integers. A row that holds NaN or
// inf has a NaN scale, which every token that sees it shows.
//
// False and a sentence, with nothing written, when the shape or start_pos is out of range.
bool attention(const AttentionJob& job, const Kernel& kernel, const ParallelFor& parallel, Error* error);

}  // namespace edge
