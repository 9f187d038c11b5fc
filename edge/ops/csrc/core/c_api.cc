#include "core/c_api.h"

#include <pthread.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "core/attention.h"
#include "core/dispatch.h"
#include "core/elastic.h"
#include "core/elementwise.h"
#include "core/limits.h"
#include "core/linear.h"
#include "core/table_memory.h"
#include "core/unpacked_ternary.h"
#include "source_hash.inc"

namespace {

using namespace edge;

int report(bool ok, const Error& why, char* error, size_t error_size) {
  if (!ok && error != nullptr && error_size > 0) std::snprintf(error, error_size, "%s", why.message);
  return ok ? 0 : 1;
}

struct Part {
  ParallelFor::Body body;
  void* context;
  int64_t begin, end;
};

void* run_part(void* argument) {
  const Part& part = *static_cast<const Part*>(argument);
  part.body(part.context, part.begin, part.end);
  return nullptr;
}

// Runs equal ranges on one thread each; if a thread cannot start, runs its range here.
void run_on_threads(void* pool, int64_t count, int64_t grain, ParallelFor::Body body, void* context) {
  const int64_t wanted = *static_cast<const int*>(pool);
  const int64_t shares = std::max<int64_t>(1, std::min(wanted, (count + grain - 1) / grain));
  std::vector<Part> parts;
  for (int64_t i = 0; i < shares; ++i)
    parts.push_back({body, context, count * i / shares, count * (i + 1) / shares});
  std::vector<pthread_t> threads;
  for (size_t i = 1; i < parts.size(); ++i) {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, run_part, &parts[i]) == 0) {
      threads.push_back(thread);
    } else {
      run_part(&parts[i]);
    }
  }
  run_part(&parts[0]);
  for (const pthread_t thread : threads) pthread_join(thread, nullptr);
}

const Kernel* kernel_named(const char* name, Error* error) {
  return name != nullptr ? find_kernel(name, error) : selected_kernel(error);
}

bool check_threads(int threads, Error* error) {
  if (threads >= 1 && threads <= kMaxThreads) return true;
  return error->fail("threads must lie in 1..%d, not %d", static_cast<int>(kMaxThreads), threads);
}

bool linear_checked(const float* x, int64_t tokens, const PackedView& weight, const LinearFusion& fusion,
                    const Kernel& kernel, int threads, float* y, Error* error) {
  RunnableTable table;
  int64_t bytes = 0;
  if (!check_threads(threads, error) || !runnable_copy(weight, kernel, &table, error) ||
      !linear_scratch(tokens, table.view, fusion, &bytes, error)) {
    return false;
  }
  void* scratch = std::malloc(static_cast<size_t>(bytes) + 1);
  if (scratch == nullptr) return error->fail("linear: out of memory for %lld tokens", (long long)tokens);
  linear(x, tokens, table.view, fusion, kernel, ParallelFor{run_on_threads, &threads}, scratch, y);
  std::free(scratch);
  return true;
}

bool check_activations(int64_t tokens, int64_t k, int64_t k_padded, Error* error) {
  if (!check_rows("quantize_activations", tokens, k_padded, error)) return false;
  if (k >= 1 && k <= kMaxColumns && k <= k_padded) return true;
  return error->fail("quantize_activations: %lld columns in rows of %lld are out of range", (long long)k,
                     (long long)k_padded);
}

int run_attention(const AttentionJob& job, const char* kernel_name, int threads, char* error,
                  size_t error_size) {
  Error why;
  const Kernel* kernel = kernel_named(kernel_name, &why);
  const bool ok = kernel != nullptr && check_threads(threads, &why) &&
                  attention(job, *kernel, ParallelFor{run_on_threads, &threads}, &why);
  return report(ok, why, error, error_size);
}

}  // namespace

const char* edge_source_hash() {
  return kSourceHash;
}

const char* edge_kernel_names() {
  return kernel_names();
}

const char* edge_selected_kernel(char* error, size_t error_size) {
  Error why;
  const Kernel* kernel = selected_kernel(&why);
  report(kernel != nullptr, why, error, error_size);
  return kernel != nullptr ? kernel->name : nullptr;
}

int edge_linear(const float* x, int64_t tokens, int64_t k, const uint8_t* packed, int64_t packed_bytes,
                int64_t n, const float* norm_weight, float eps, const float* residual, int gate_up, int gelu,
                const char* kernel_name, int threads, float* y, char* error, size_t error_size) {
  Error why;
  PackedView weight;
  const LinearFusion fusion{norm_weight, eps, residual, gate_up != 0, gelu != 0};
  const Kernel* kernel = kernel_named(kernel_name, &why);
  const bool ok = kernel != nullptr && open_packed(packed, packed_bytes, n, k, &weight, &why) &&
                  linear_checked(x, tokens, weight, fusion, *kernel, threads, y, &why);
  return report(ok, why, error, error_size);
}

int edge_embedding(const int64_t* ids, int64_t count, const uint8_t* packed, int64_t packed_bytes,
                   int64_t dim, float* out, char* error, size_t error_size) {
  Error why;
  PackedView table;
  const bool ok =
      open_table(packed, packed_bytes, dim, &table, &why) && embedding(ids, count, table, out, &why);
  return report(ok, why, error, error_size);
}

int edge_quantize_activations(const float* x, int64_t tokens, int64_t k, int64_t k_padded,
                              const char* kernel_name, int8_t* q, float* scales, int32_t* sums, char* error,
                              size_t error_size) {
  Error why;
  const Kernel* kernel = kernel_named(kernel_name, &why);
  const bool ok = kernel != nullptr && check_activations(tokens, k, k_padded, &why);
  for (int64_t t = 0; ok && t < tokens; ++t) {
    const TokenScale scale = kernel->quantize(x + t * k, nullptr, 0.0f, k, k_padded, q + t * k_padded);
    scales[t] = scale.scale;
    sums[t] = scale.act_sum;
  }
  return report(ok, why, error, error_size);
}

int edge_rms_norm(const float* x, const float* weight, float eps, int64_t rows, int64_t dim,
                  const char* kernel_name, int threads, float* y, char* error, size_t error_size) {
  Error why;
  const Kernel* kernel = kernel_named(kernel_name, &why);
  const bool ok =
      kernel != nullptr && check_threads(threads, &why) &&
      rms_norm(x, weight, eps, rows, dim, *kernel, ParallelFor{run_on_threads, &threads}, y, &why);
  return report(ok, why, error, error_size);
}

int edge_gate_mul(const float* gate, const float* up, int64_t count, int gelu, const char* kernel_name,
                  int threads, float* y, char* error, size_t error_size) {
  Error why;
  const Kernel* kernel = kernel_named(kernel_name, &why);
  const bool ok =
      kernel != nullptr && check_threads(threads, &why) &&
      gate_mul(gate, up, count, gelu != 0, *kernel, ParallelFor{run_on_threads, &threads}, y, &why);
  return report(ok, why, error, error_size);
}

int edge_attention(const float* qkv, const float* cos, const float* sin, float* k_cache, float* v_cache,
                   int64_t tokens, int64_t heads, int64_t kv_heads, int64_t head_dim, int64_t capacity,
                   int64_t positions, int64_t start_pos, int64_t window, float cap, const char* kernel_name,
                   int threads, float* out, char* error, size_t error_size) {
  const AttentionShape shape{tokens, heads, kv_heads, head_dim, capacity, positions, start_pos, window};
  const AttentionJob job{shape, qkv, cos, sin, CacheType::kFloat32, {k_cache, v_cache}, {}, out, cap};
  return run_attention(job, kernel_name, threads, error, error_size);
}

int edge_attention_int8(const float* qkv, const float* cos, const float* sin, int8_t* k_cache,
                        int8_t* v_cache, float* k_scales, float* v_scales, int64_t tokens, int64_t heads,
                        int64_t kv_heads, int64_t head_dim, int64_t capacity, int64_t positions,
                        int64_t start_pos, int64_t window, float cap, const char* kernel_name, int threads,
                        float* out, char* error, size_t error_size) {
  const AttentionShape shape{tokens, heads, kv_heads, head_dim, capacity, positions, start_pos, window};
  const IntegerCache cache{k_cache, v_cache, k_scales, v_scales};
  const AttentionJob job{shape, qkv, cos, sin, CacheType::kInt8, {}, cache, out, cap};
  return run_attention(job, kernel_name, threads, error, error_size);
}

int edge_attention_int4(const float* qkv, const float* cos, const float* sin, uint8_t* k_cache,
                        uint8_t* v_cache, float* k_scales, float* v_scales, int64_t tokens, int64_t heads,
                        int64_t kv_heads, int64_t head_dim, int64_t capacity, int64_t positions,
                        int64_t start_pos, int64_t window, float cap, const char* kernel_name, int threads,
                        float* out, char* error, size_t error_size) {
  const AttentionShape shape{tokens, heads, kv_heads, head_dim, capacity, positions, start_pos, window};
  const IntegerCache cache{reinterpret_cast<int8_t*>(k_cache), reinterpret_cast<int8_t*>(v_cache), k_scales,
                           v_scales};
  const AttentionJob job{shape, qkv, cos, sin, CacheType::kInt4, {}, cache, out, cap};
  return run_attention(job, kernel_name, threads, error, error_size);
}

void edge_programs_changed() {
  programs_changed();
  forget_slices();
}

void edge_forget_slices() {
  forget_slices();
}

int64_t edge_held_table_bytes() {
  return held_table_bytes();
}
