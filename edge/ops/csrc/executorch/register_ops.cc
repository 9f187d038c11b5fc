// Registers all ops but the linear ones (register_linear.cc) with ExecuTorch. Each function checks shapes and
// types, then calls the op in core/. A failed check ends the op with InvalidArgument and writes a sentence to
// ExecuTorch's log.
#include "core/attention.h"
#include "core/elementwise.h"
#include "core/linear.h"
#include "executorch/op_checks.h"

namespace {

Tensor& embedding_out(KernelRuntimeContext& ctx, const Tensor& tokens, const Tensor& packed, int64_t dim,
                      Tensor& out) {
  edge::Error error;
  edge::PackedView table;
  LOWBIT_CHECK(is_dense(tokens, ScalarType::Long), "lowbit::embedding: tokens must be dense int64");
  LOWBIT_CHECK(is_dense(packed, ScalarType::Byte) && is_float(out),
               "lowbit::embedding: packed must be dense uint8, the output float32");
  LOWBIT_CHECK(edge::open_table(packed.const_data_ptr<uint8_t>(), packed.numel(), dim, &table, &error),
               "lowbit::embedding: %s", error.message);
  LOWBIT_CHECK(resize_last(out, tokens, dim, true), "lowbit::embedding: the output does not fit its plan");
  LOWBIT_CHECK(edge::embedding(tokens.const_data_ptr<int64_t>(), tokens.numel(), table,
                               out.mutable_data_ptr<float>(), &error),
               "lowbit::embedding: %s", error.message);
  return out;
}

Tensor& rms_norm_out(KernelRuntimeContext& ctx, const Tensor& x, const Tensor& weight, double eps,
                     Tensor& out) {
  LOWBIT_CHECK(is_float(x) && is_float(weight) && is_float(out), "lowbit::rms_norm takes dense float32");
  LOWBIT_CHECK(x.dim() >= 1 && weight.dim() == 1 && last_size(x) == weight.numel() && weight.numel() > 0,
               "lowbit::rms_norm: weight must be as long as the last dimension of x");
  LOWBIT_CHECK(resize_last(out, x, last_size(x), false),
               "lowbit::rms_norm: the output does not fit its plan");
  edge::Error error;
  const edge::Kernel* kernel = edge::selected_kernel(&error);
  const int64_t dim = weight.numel();
  LOWBIT_CHECK(kernel != nullptr && edge::rms_norm(x.const_data_ptr<float>(), weight.const_data_ptr<float>(),
                                                   static_cast<float>(eps), x.numel() / dim, dim, *kernel,
                                                   kParallel, out.mutable_data_ptr<float>(), &error),
               "lowbit::rms_norm: %s", error.message);
  return out;
}

Tensor& gate_mul_out(KernelRuntimeContext& ctx, const Tensor& gate, const Tensor& up, bool gelu,
                     Tensor& out) {
  LOWBIT_CHECK(is_float(gate) && is_float(up) && is_float(out), "lowbit::gate_mul takes dense float32");
  LOWBIT_CHECK(gate.dim() >= 1 && same_shape(gate, up), "lowbit::gate_mul: gate and up differ in shape");
  LOWBIT_CHECK(resize_last(out, gate, last_size(gate), false),
               "lowbit::gate_mul: the output does not fit its plan");
  edge::Error error;
  const edge::Kernel* kernel = edge::selected_kernel(&error);
  LOWBIT_CHECK(kernel != nullptr &&
                   edge::gate_mul(gate.const_data_ptr<float>(), up.const_data_ptr<float>(), gate.numel(),
                                  gelu, *kernel, kParallel, out.mutable_data_ptr<float>(), &error),
               "lowbit::gate_mul: %s", error.message);
  return out;
}

bool has_sizes(const Tensor& tensor, std::initializer_list<int64_t> sizes) {
  return static_cast<size_t>(tensor.dim()) == sizes.size() &&
         std::equal(sizes.begin(), sizes.end(), tensor.sizes().begin());
}

// Reads the shape from the tensors and checks what the attention ops have in common.
bool attention_shape(const Tensor& qkv, const Tensor& cos, const Tensor& sin, const Tensor& k_cache,
                     int64_t start_pos, int64_t heads, edge::AttentionShape* s) {
  if (!is_float(qkv) || !is_float(cos) || !is_float(sin)) return false;
  if (qkv.dim() != 3 || qkv.size(0) != 1 || cos.dim() != 2 || !same_shape(cos, sin)) return false;
  if (k_cache.dim() < 4 || heads < 1 || heads > qkv.size(2)) return false;
  *s = {qkv.size(1), heads,    k_cache.size(0), 2 * cos.size(1), k_cache.size(1) * edge::kKeyBlock,
        cos.size(0), start_pos};
  int64_t width = 0;
  return !__builtin_mul_overflow(s->heads + 2 * s->kv_heads, s->head_dim, &width) && qkv.size(2) == width;
}

Tensor& run_attention(KernelRuntimeContext& ctx, edge::AttentionJob job, Tensor& out) {
  const edge::AttentionShape& s = job.shape;
  const SizesType sizes[] = {1, static_cast<SizesType>(s.tokens),
                             static_cast<SizesType>(s.heads * s.head_dim)};
  LOWBIT_CHECK(is_float(out) && resize(out, sizes, 3), "lowbit::attention: the output does not fit its plan");
  job.out = out.mutable_data_ptr<float>();
  edge::Error error;
  const edge::Kernel* kernel = edge::selected_kernel(&error);
  LOWBIT_CHECK(kernel != nullptr && edge::attention(job, *kernel, kParallel, &error), "lowbit::%s",
               error.message);
  return out;
}

Tensor& attention_out(KernelRuntimeContext& ctx, const Tensor& qkv, const Tensor& cos, const Tensor& sin,
                      Tensor& k_cache, Tensor& v_cache, int64_t start_pos, int64_t heads, int64_t window,
                      double cap, Tensor& out) {
  edge::AttentionJob job{};
  edge::AttentionShape& s = job.shape;
  LOWBIT_CHECK(attention_shape(qkv, cos, sin, k_cache, start_pos, heads, &s) && is_float(k_cache) &&
                   is_float(v_cache) &&
                   has_sizes(k_cache, {s.kv_heads, s.capacity / 16, s.head_dim, edge::kKeyBlock}) &&
                   has_sizes(v_cache, {s.kv_heads, s.capacity, s.head_dim}),
               "lowbit::attention: shapes must be qkv [1,T,(H+2*Hkv)*D], cos, sin [max_seq,D/2], k_cache "
               "[Hkv,S/16,D,16], v_cache [Hkv,S,D], all dense float32");
  job.qkv = qkv.const_data_ptr<float>();
  job.cos = cos.const_data_ptr<float>();
  job.sin = sin.const_data_ptr<float>();
  s.window = window;
  job.cap = static_cast<float>(cap);
  job.cache = edge::CacheType::kFloat32;
  job.floats = {k_cache.mutable_data_ptr<float>(), v_cache.mutable_data_ptr<float>()};
  return run_attention(ctx, job, out);
}

template <int kBits>
Tensor& integer_attention_out(KernelRuntimeContext& ctx, const Tensor& qkv, const Tensor& cos,
                              const Tensor& sin, Tensor& k_cache, Tensor& v_cache, Tensor& k_scales,
                              Tensor& v_scales, int64_t start_pos, int64_t heads, int64_t window, double cap,
                              Tensor& out) {
  constexpr ScalarType kType = kBits == 8 ? ScalarType::Char : ScalarType::Byte;
  constexpr int kInByte = 8 / kBits;
  edge::AttentionJob job{};
  edge::AttentionShape& s = job.shape;
  const bool agree =
      attention_shape(qkv, cos, sin, k_cache, start_pos, heads, &s) && is_dense(k_cache, kType) &&
      is_dense(v_cache, kType) &&
      has_sizes(k_cache, {s.kv_heads, s.capacity / 16, s.head_dim / (4 * kInByte), edge::kKeyBlock, 4}) &&
      has_sizes(v_cache, {s.kv_heads, s.capacity / 4, s.head_dim / kInByte, 4});
  LOWBIT_CHECK(agree && is_float(k_scales) && is_float(v_scales) &&
                   has_sizes(k_scales, {s.kv_heads, s.capacity}) && same_shape(k_scales, v_scales),
               "lowbit::attention_int%d: shapes must be qkv [1,T,(H+2*Hkv)*D], cos, sin [max_seq,D/2], all "
               "dense float32, k_cache [Hkv,S/16,D/%d,16,4], v_cache [Hkv,S/4,D/%d,4], dense %s, k_scales, "
               "v_scales float32 [Hkv,S]",
               kBits, 4 * kInByte, kInByte, kBits == 8 ? "int8" : "uint8");
  job.qkv = qkv.const_data_ptr<float>();
  job.cos = cos.const_data_ptr<float>();
  job.sin = sin.const_data_ptr<float>();
  s.window = window;
  job.cap = static_cast<float>(cap);
  job.cache = kBits == 8 ? edge::CacheType::kInt8 : edge::CacheType::kInt4;
  job.integers = {static_cast<int8_t*>(k_cache.mutable_data_ptr()),
                  static_cast<int8_t*>(v_cache.mutable_data_ptr()), k_scales.mutable_data_ptr<float>(),
                  v_scales.mutable_data_ptr<float>()};
  return run_attention(ctx, job, out);
}

EXECUTORCH_LIBRARY(lowbit, "embedding.out", WithMemory<embedding_out>::call);
EXECUTORCH_LIBRARY(lowbit, "rms_norm.out", WithMemory<rms_norm_out>::call);
EXECUTORCH_LIBRARY(lowbit, "gate_mul.out", WithMemory<gate_mul_out>::call);
EXECUTORCH_LIBRARY(lowbit, "attention.out", WithMemory<attention_out>::call);
EXECUTORCH_LIBRARY(lowbit, "attention_int8.out", WithMemory<integer_attention_out<8>>::call);
EXECUTORCH_LIBRARY(lowbit, "attention_int4.out", WithMemory<integer_attention_out<4>>::call);

}  // namespace
