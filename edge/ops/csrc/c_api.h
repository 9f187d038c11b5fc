// The C face: the ops for eager PyTorch (through ctypes) and for unit tests. Pointers are to
// contiguous rows. Functions that can fail return 0 on success, 1 with a sentence in `error`.
// `threads` counts the calling thread; nothing is kept between calls.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define EDGE_API extern "C" __attribute__((visibility("default")))

// The hash of the sources this library was built from; edge/ops/source_hash.py computes it.
EDGE_API const char* edge_source_hash();
// Names in the order of preference, separated by commas.
EDGE_API const char* edge_kernel_names();
// The kernel that lowbit::linear uses; null, with a sentence, when EDGE_FORCE_KERNEL cannot be met.
EDGE_API const char* edge_selected_kernel(char* error, size_t error_size);

// x float32 [tokens, k], packed uint8 [packed_bytes], y float32 [tokens, n]. `kernel` is a name, or
// null for the selected one.
EDGE_API int edge_linear(const float* x, int64_t tokens, int64_t k, const uint8_t* packed,
                         int64_t packed_bytes, int64_t n, const char* kernel, int threads, float* y,
                         char* error, size_t error_size);
// ids int64 [count], out float32 [count, dim]; the table says how many rows it has.
EDGE_API int edge_embedding(const int64_t* ids, int64_t count, const uint8_t* packed, int64_t packed_bytes,
                            int64_t dim, float* out, char* error, size_t error_size);
// x float32 [tokens, k] -> q int8 [tokens, k_padded], scales float32 [tokens], sums int32 [tokens].
EDGE_API void edge_quantize_activations(const float* x, int64_t tokens, int64_t k, int64_t k_padded,
                                        int8_t* q, float* scales, int32_t* sums);
EDGE_API void edge_rms_norm(const float* x, const float* weight, float eps, int64_t rows, int64_t dim,
                            int threads, float* y);
EDGE_API void edge_silu_mul(const float* gate, const float* up, int64_t count, int threads, float* y);
// Shapes as in attention.h; the caches are written in place.
EDGE_API int edge_attention(const float* q, const float* k, const float* v, const float* cos,
                            const float* sin, float* k_cache, float* v_cache, int64_t tokens, int64_t heads,
                            int64_t kv_heads, int64_t head_dim, int64_t max_seq, int64_t start_pos,
                            int threads, float* out, char* error, size_t error_size);
