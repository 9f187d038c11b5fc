// Registers the linear ops with ExecuTorch: a packed table, or an elastic weight, whose slice is chosen when
// the op runs. Each function checks shapes and types, then calls the op in core/.
#include "core/elastic.h"
#include "core/linear.h"
#include "core/unpacked_ternary.h"
#include "executorch/op_checks.h"

namespace {

// Multiplies x [..., k] by a table [n, k] that `open` finds, with the steps that are fused into it.
// `open(k, kernel, &table, &error)` returns false with a sentence.
template <class Open>
Tensor& run_linear(KernelRuntimeContext& ctx, const char* op, const Tensor& x, int64_t n,
                   const edge::LinearFusion& fusion, const Open& open, Tensor& out) {
  edge::Error error;
  edge::RunnableTable table;
  LOWBIT_CHECK(is_float(x) && is_float(out) && x.dim() >= 1, "lowbit::%s: x must be dense float32", op);
  const int64_t k = last_size(x);
  const edge::Kernel* kernel = edge::selected_kernel(&error);
  LOWBIT_CHECK(kernel != nullptr && open(k, *kernel, &table, &error), "lowbit::%s: %s", op, error.message);
  LOWBIT_CHECK(resize_last(out, x, fusion.gate_up ? n / 2 : n, false),
               "lowbit::%s: the output does not fit its plan", op);
  const int64_t tokens = x.numel() / k;
  int64_t bytes = 0;
  LOWBIT_CHECK(edge::linear_scratch(tokens, table.view, fusion, &bytes, &error), "lowbit::%s: %s", op,
               error.message);
  void* scratch = nullptr;
  if (bytes > 0) {
    auto temp = ctx.allocate_temp(static_cast<size_t>(bytes));
    LOWBIT_CHECK(temp.ok(), "lowbit::%s: no temporary memory for %lld tokens", op,
                 static_cast<long long>(tokens));
    scratch = temp.get();
  }
  edge::linear(x.const_data_ptr<float>(), tokens, table.view, fusion, *kernel, kParallel, scratch,
               out.mutable_data_ptr<float>());
  return out;
}

// A packed table as an op's argument.
struct Packed {
  const Tensor& table;

  Tensor& run(KernelRuntimeContext& ctx, const char* op, const Tensor& x, int64_t n,
              const edge::LinearFusion& fusion, Tensor& out) const {
    LOWBIT_CHECK(is_dense(table, ScalarType::Byte), "lowbit::%s: packed must be dense uint8", op);
    const auto open = [&](int64_t k, const edge::Kernel& kernel, edge::RunnableTable* runnable,
                          edge::Error* error) {
      edge::PackedView weight;
      return edge::open_packed(table.const_data_ptr<uint8_t>(), table.numel(), n, k, &weight, error) &&
             edge::runnable_of_program(weight, kernel, runnable, error);
    };
    return run_linear(ctx, op, x, n, fusion, open, out);
  }
};

// An elastic weight as an op's arguments; its width is that of `layer` in `widths`, or 8 bits for 0.
struct Elastic {
  const Tensor &base, &middle, &low, &widths;
  int64_t layer;

  Tensor& run(KernelRuntimeContext& ctx, const char* op, const Tensor& x, int64_t n,
              const edge::LinearFusion& fusion, Tensor& out) const {
    LOWBIT_CHECK(is_dense(base, ScalarType::Byte) && is_dense(middle, ScalarType::Byte) &&
                     is_dense(low, ScalarType::Byte) && is_dense(widths, ScalarType::Byte),
                 "lowbit::elastic_%s: base, middle, low and widths must be dense uint8", op);
    LOWBIT_CHECK(layer >= 0 && layer < widths.numel(), "lowbit::elastic_%s: there is no width for layer %lld",
                 op, static_cast<long long>(layer));
    const int chosen = widths.const_data_ptr<uint8_t>()[layer];
    const auto open = [&](int64_t k, const edge::Kernel&, edge::RunnableTable* runnable, edge::Error* error) {
      const edge::ElasticBytes weight{bytes_of(base), bytes_of(middle), bytes_of(low), n, k};
      return edge::runnable_slice(weight, chosen == 0 ? edge::kParentBits : chosen, runnable, error);
    };
    return run_linear(ctx, op, x, n, fusion, open, out);
  }

  static edge::PackedBytes bytes_of(const Tensor& table) {
    return {table.const_data_ptr<uint8_t>(), static_cast<int64_t>(table.numel())};
  }
};

bool is_norm_of(const Tensor& norm_weight, const Tensor& x) {
  return is_float(norm_weight) && x.dim() >= 1 && norm_weight.dim() == 1 &&
         norm_weight.numel() == last_size(x);
}

edge::LinearFusion norm_fusion(const Tensor& norm_weight, double eps) {
  edge::LinearFusion fusion;
  fusion.norm_weight = norm_weight.const_data_ptr<float>();
  fusion.eps = static_cast<float>(eps);
  return fusion;
}

template <class Weight>
Tensor& norm_linear(KernelRuntimeContext& ctx, const Tensor& x, const Tensor& norm_weight, double eps,
                    const Weight& weight, int64_t n, Tensor& out) {
  LOWBIT_CHECK(is_norm_of(norm_weight, x),
               "lowbit::norm_linear: norm_weight must be as long as the last dimension of x");
  return weight.run(ctx, "norm_linear", x, n, norm_fusion(norm_weight, eps), out);
}

template <class Weight>
Tensor& norm_gate_up(KernelRuntimeContext& ctx, const Tensor& x, const Tensor& norm_weight, double eps,
                     const Weight& weight, int64_t n, bool gelu, Tensor& out) {
  LOWBIT_CHECK(is_norm_of(norm_weight, x),
               "lowbit::norm_gate_up: norm_weight must be as long as the last dimension of x");
  LOWBIT_CHECK(n > 0 && n <= edge::kMaxRows / 2, "lowbit::norm_gate_up: %lld rows do not fit a table",
               static_cast<long long>(n));
  edge::LinearFusion fusion = norm_fusion(norm_weight, eps);
  fusion.gate_up = true;
  fusion.gelu = gelu;
  return weight.run(ctx, "norm_gate_up", x, 2 * n, fusion, out);
}

template <class Weight>
Tensor& linear_add(KernelRuntimeContext& ctx, const Tensor& x, const Weight& weight, const Tensor& residual,
                   Tensor& out) {
  LOWBIT_CHECK(is_float(residual) && residual.dim() >= 1 && residual.dim() == x.dim() &&
                   std::equal(x.sizes().begin(), x.sizes().end() - 1, residual.sizes().begin()),
               "lowbit::linear_add: residual must be dense float32 with the leading sizes of x");
  edge::LinearFusion fusion;
  fusion.residual = residual.const_data_ptr<float>();
  return weight.run(ctx, "linear_add", x, last_size(residual), fusion, out);
}

Tensor& linear_out(KernelRuntimeContext& ctx, const Tensor& x, const Tensor& packed, int64_t n, Tensor& out) {
  return Packed{packed}.run(ctx, "linear", x, n, {}, out);
}

Tensor& norm_linear_out(KernelRuntimeContext& ctx, const Tensor& x, const Tensor& norm_weight, double eps,
                        const Tensor& packed, int64_t n, Tensor& out) {
  return norm_linear(ctx, x, norm_weight, eps, Packed{packed}, n, out);
}

Tensor& norm_gate_up_out(KernelRuntimeContext& ctx, const Tensor& x, const Tensor& norm_weight, double eps,
                         const Tensor& packed, int64_t n, bool gelu, Tensor& out) {
  return norm_gate_up(ctx, x, norm_weight, eps, Packed{packed}, n, gelu, out);
}

Tensor& linear_add_out(KernelRuntimeContext& ctx, const Tensor& x, const Tensor& packed,
                       const Tensor& residual, Tensor& out) {
  return linear_add(ctx, x, Packed{packed}, residual, out);
}

Tensor& elastic_linear_out(KernelRuntimeContext& ctx, const Tensor& x, const Tensor& base,
                           const Tensor& middle, const Tensor& low, Tensor& widths, int64_t layer, int64_t n,
                           Tensor& out) {
  return Elastic{base, middle, low, widths, layer}.run(ctx, "linear", x, n, {}, out);
}

Tensor& elastic_norm_linear_out(KernelRuntimeContext& ctx, const Tensor& x, const Tensor& norm_weight,
                                double eps, const Tensor& base, const Tensor& middle, const Tensor& low,
                                Tensor& widths, int64_t layer, int64_t n, Tensor& out) {
  return norm_linear(ctx, x, norm_weight, eps, Elastic{base, middle, low, widths, layer}, n, out);
}

Tensor& elastic_norm_gate_up_out(KernelRuntimeContext& ctx, const Tensor& x, const Tensor& norm_weight,
                                 double eps, const Tensor& base, const Tensor& middle, const Tensor& low,
                                 Tensor& widths, int64_t layer, int64_t n, bool gelu, Tensor& out) {
  return norm_gate_up(ctx, x, norm_weight, eps, Elastic{base, middle, low, widths, layer}, n, gelu, out);
}

Tensor& elastic_linear_add_out(KernelRuntimeContext& ctx, const Tensor& x, const Tensor& base,
                               const Tensor& middle, const Tensor& low, Tensor& widths, int64_t layer,
                               const Tensor& residual, Tensor& out) {
  return linear_add(ctx, x, Elastic{base, middle, low, widths, layer}, residual, out);
}

EXECUTORCH_LIBRARY(lowbit, "linear.out", WithMemory<linear_out>::call);
EXECUTORCH_LIBRARY(lowbit, "norm_linear.out", WithMemory<norm_linear_out>::call);
EXECUTORCH_LIBRARY(lowbit, "norm_gate_up.out", WithMemory<norm_gate_up_out>::call);
EXECUTORCH_LIBRARY(lowbit, "linear_add.out", WithMemory<linear_add_out>::call);
EXECUTORCH_LIBRARY(lowbit, "elastic_linear.out", WithMemory<elastic_linear_out>::call);
EXECUTORCH_LIBRARY(lowbit, "elastic_norm_linear.out", WithMemory<elastic_norm_linear_out>::call);
EXECUTORCH_LIBRARY(lowbit, "elastic_norm_gate_up.out", WithMemory<elastic_norm_gate_up_out>::call);
EXECUTORCH_LIBRARY(lowbit, "elastic_linear_add.out", WithMemory<elastic_linear_add_out>::call);

}  // namespace
