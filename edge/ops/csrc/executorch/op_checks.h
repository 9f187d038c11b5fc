// Check the tensors of ops, resize their outputs and run their loops on threads: for every registration.
#pragma once

#include <executorch/extension/kernel_util/make_boxed_from_unboxed_functor.h>
#include <executorch/runtime/kernel/kernel_includes.h>

#include <tuple>
#include <type_traits>

#include "core/dispatch.h"
#include "core/team.h"
#include "executorch/thread_pool.h"

namespace {

using executorch::aten::ArrayRef;
using executorch::aten::ScalarType;
using executorch::aten::SizesType;
using executorch::aten::Tensor;
using executorch::runtime::KernelRuntimeContext;

#define LOWBIT_CHECK(condition, ...) ET_KERNEL_CHECK_MSG(ctx, (condition), InvalidArgument, out, __VA_ARGS__)

constexpr size_t kMaxDims = 16;

// Runs a loop on as many threads as ExecuTorch's pool has, but on the team's, which are faster at loops as
// short as those of decode.
inline void run_on_threads(void*, int64_t count, int64_t grain, edge::ParallelFor::Body body, void* context) {
  edge::run_on_team(edge::pool_threads(), count, grain, body, context);
}

constexpr edge::ParallelFor kParallel{run_on_threads, nullptr};

inline bool is_dense(const Tensor& tensor, ScalarType type) {
  return tensor.scalar_type() == type && executorch::runtime::tensor_is_default_dim_order(tensor);
}

inline bool is_float(const Tensor& tensor) {
  return is_dense(tensor, ScalarType::Float);
}

inline int64_t last_size(const Tensor& tensor) {
  return tensor.size(tensor.dim() - 1);
}

inline bool same_shape(const Tensor& a, const Tensor& b) {
  return a.sizes().size() == b.sizes().size() &&
         std::equal(a.sizes().begin(), a.sizes().end(), b.sizes().begin());
}

// Returns false for a tensor whose program gave it no memory. Arguments that are no tensors need none.
template <class T>
bool has_memory(const T& argument) {
  if constexpr (std::is_same_v<T, Tensor>)
    return argument.numel() == 0 || argument.const_data_ptr() != nullptr;
  return true;
}

// Resizes an output, which must have memory for those sizes.
inline bool resize(Tensor& out, const SizesType* sizes, size_t dims) {
  return executorch::runtime::resize_tensor(out, ArrayRef<SizesType>(sizes, dims)) ==
             executorch::runtime::Error::Ok &&
         has_memory(out);
}

// Resizes `out` to the sizes of `like` with the last one replaced by `last`, or with `last` appended.
inline bool resize_last(Tensor& out, const Tensor& like, int64_t last, bool append) {
  SizesType sizes[kMaxDims];
  size_t dims = static_cast<size_t>(like.dim());
  if (dims + 1 > kMaxDims) return false;
  std::copy(like.sizes().begin(), like.sizes().end(), sizes);
  if (append) ++dims;
  sizes[dims - 1] = static_cast<SizesType>(last);
  return resize(out, sizes, dims);
}

// Calls an op, unless one of its tensors has elements but no memory, which a damaged program can cause.
template <auto kOp>
struct WithMemory;
template <class... Args, Tensor& (*kOp)(KernelRuntimeContext&, Args...)>
struct WithMemory<kOp> {
  static Tensor& call(KernelRuntimeContext& ctx, Args... args) {
    Tensor& out = std::get<sizeof...(Args) - 1>(std::tie(args...));
    LOWBIT_CHECK((has_memory(args) && ...), "lowbit::op: a tensor has no memory; the program is damaged");
    return kOp(ctx, args...);
  }
};

}  // namespace
