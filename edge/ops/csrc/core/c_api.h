// The C API: the ops for eager PyTorch (through ctypes), for tests and for other programs. Pointers are to
// contiguous rows. Functions that can fail return 0 on success, or 1 with a sentence in `error`. `threads`, 1
// to 4096, includes the calling thread. The ops may be called from several threads at once; they keep nothing
// between calls.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define EDGE_API extern "C" __attribute__((visibility("default")))

// The hash of the sources that this library was built from (edge/ops/source_hash.py).
EDGE_API const char* edge_source_hash();
// Names of all kernels in this build, best first, separated by commas.
EDGE_API const char* edge_kernel_names();
// The kernel that the ops use here; null with a sentence if EDGE_FORCE_KERNEL names one that cannot run.
EDGE_API const char* edge_selected_kernel(char* error, size_t error_size);

// In every op below, `kernel` is a kernel's name, or null for the selected one.

// x float32 [tokens, k], packed uint8 [packed_bytes] of an [n, k] table, y float32 [tokens, n].
// norm_weight float32 [k] or null: RMS-normalise x first. residual float32 [tokens, n] or null: add it to the
// result. gate_up: the table is [gate; up] and y [tokens, n / 2] = SiLU(gate x) * up x, or with gelu GELU by
// its tanh form.
EDGE_API int edge_linear(const float* x, int64_t tokens, int64_t k, const uint8_t* packed,
                         int64_t packed_bytes, int64_t n, const float* norm_weight, float eps,
                         const float* residual, int gate_up, int gelu, const char* kernel, int threads,
                         float* y, char* error, size_t error_size);
// ids int64 [count], out float32 [count, dim]; the table's header has its number of rows.
EDGE_API int edge_embedding(const int64_t* ids, int64_t count, const uint8_t* packed, int64_t packed_bytes,
                            int64_t dim, float* out, char* error, size_t error_size);
// x float32 [tokens, k] -> q int8 [tokens, k_padded], scales float32 [tokens], sums int32 [tokens]; k is at
// most 65536, and k_padded is at least k.
EDGE_API int edge_quantize_activations(const float* x, int64_t tokens, int64_t k, int64_t k_padded,
                                       const char* kernel, int8_t* q, float* scales, int32_t* sums,
                                       char* error, size_t error_size);
EDGE_API int edge_rms_norm(const float* x, const float* weight, float eps, int64_t rows, int64_t dim,
                           const char* kernel, int threads, float* y, char* error, size_t error_size);
EDGE_API int edge_gate_mul(const float* gate, const float* up, int64_t count, int gelu, const char* kernel,
                           int threads, float* y, char* error, size_t error_size);
// Causal attention over a KV cache (attention.h). qkv float32 [tokens, (heads + 2 * kv_heads) * head_dim];
// cos, sin float32 [positions, head_dim / 2]; out float32 [tokens, heads * head_dim]. The caches hold
// `capacity` positions in the layout of attention_job.h and are updated in place. window and cap: 0 for none.
EDGE_API int edge_attention(const float* qkv, const float* cos, const float* sin, float* k_cache,
                            float* v_cache, int64_t tokens, int64_t heads, int64_t kv_heads, int64_t head_dim,
                            int64_t capacity, int64_t positions, int64_t start_pos, int64_t window, float cap,
                            const char* kernel, int threads, float* out, char* error, size_t error_size);
EDGE_API int edge_attention_int8(const float* qkv, const float* cos, const float* sin, int8_t* k_cache,
                                 int8_t* v_cache, float* k_scales, float* v_scales, int64_t tokens,
                                 int64_t heads, int64_t kv_heads, int64_t head_dim, int64_t capacity,
                                 int64_t positions, int64_t start_pos, int64_t window, float cap,
                                 const char* kernel, int threads, float* out, char* error, size_t error_size);
EDGE_API int edge_attention_int4(const float* qkv, const float* cos, const float* sin, uint8_t* k_cache,
                                 uint8_t* v_cache, float* k_scales, float* v_scales, int64_t tokens,
                                 int64_t heads, int64_t kv_heads, int64_t head_dim, int64_t capacity,
                                 int64_t positions, int64_t start_pos, int64_t window, float cap,
                                 const char* kernel, int threads, float* out, char* error, size_t error_size);
// Tell the ops that programs whose tables they have met may be gone (unpacked_ternary.h, elastic.h). Call it
// after a program is opened, before it runs, and when one is closed.
EDGE_API void edge_programs_changed();
// Let go of the slices that elastic programs hold in memory, after the choice of another width (elastic.h).
EDGE_API void edge_forget_slices();
// Bytes of weights that this process holds in another form than their files (table_memory.h).
EDGE_API int64_t edge_held_table_bytes();
