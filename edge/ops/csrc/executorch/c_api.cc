#include "executorch/c_api.h"

#include <executorch/runtime/kernel/operator_registry.h>

#include <cstdio>
#include <cstring>

#include "executorch/program_check.h"

namespace {

// A kernel for certain types of tensors counts too; the runtime itself finds out whether it suits.
bool is_registered(const char* name) {
  for (const auto& kernel : executorch::runtime::get_registered_kernels()) {
    if (std::strcmp(kernel.name_, name) == 0) return true;
  }
  return false;
}

}  // namespace

int edge_check_program(const uint8_t* data, size_t size, int64_t max_planned_bytes, char* error,
                       size_t error_size) {
  const edge::ProgramVerdict verdict = edge::check_program(data, size, {is_registered, max_planned_bytes});
  if (error != nullptr && error_size > 0) std::snprintf(error, error_size, "%s", verdict.reason.c_str());
  switch (verdict.status) {
    case edge::ProgramStatus::kUsable:
      return EDGE_PROGRAM_USABLE;
    case edge::ProgramStatus::kLacksOperators:
      return EDGE_PROGRAM_LACKS_OPERATORS;
    default:
      return EDGE_PROGRAM_UNUSABLE;
  }
}
