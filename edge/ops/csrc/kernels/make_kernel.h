// The row of dispatch's table that a struct of primitives makes.
#pragma once

#include "attention_body.h"
#include "cache_body.h"
#include "float_body.h"
#include "kernel.h"
#include "linear_body.h"

namespace edge {
namespace {

template <class Isa>
constexpr Kernel make_kernel(const char* name, bool (*supported)()) {
  return {name,         supported,    Isa::kRunsBase3, linear_blocks<Isa>, quantize_row,
          rms_norm_row, silu_mul_row, write_cache,     attend_items<Isa>};
}

}  // namespace
}  // namespace edge
