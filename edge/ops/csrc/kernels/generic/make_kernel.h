// Makes a row of the dispatch table from a struct of primitives.
#pragma once

#include "kernels/generic/attention_generic.h"
#include "kernels/generic/cache_write_generic.h"
#include "kernels/generic/float_rows_generic.h"
#include "kernels/generic/kernel.h"
#include "kernels/generic/linear_grouped_generic.h"

namespace edge {
namespace {

template <class Isa>
constexpr Kernel make_kernel(const char* name, bool (*supported)()) {
  return {name,         supported,    Isa::kRunsBase3, linear_blocks<Isa>, quantize_row,
          rms_norm_row, gate_mul_row, write_cache,     attend_items<Isa>};
}

}  // namespace
}  // namespace edge
