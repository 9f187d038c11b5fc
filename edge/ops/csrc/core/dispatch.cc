#include "core/dispatch.h"

#include <cstdlib>
#include <cstring>
#include <string>

namespace edge {

// EDGE_KERNELS lists the kernels of this build, best first (cmake/kernels.cmake).
#define EDGE_KERNEL(kernel) extern const Kernel kernel;
EDGE_KERNELS
#undef EDGE_KERNEL

namespace {

#define EDGE_KERNEL(kernel) &kernel,
const Kernel* const kKernels[] = {EDGE_KERNELS};
#undef EDGE_KERNEL

struct Selection {
  const Kernel* kernel = nullptr;
  Error error;
};

Selection select() {
  Selection selection;
  const char* forced = std::getenv(kForceVariable);
  if (forced != nullptr && forced[0] != '\0') {
    selection.kernel = find_kernel(forced, &selection.error);
    return selection;
  }
  for (const Kernel* kernel : kKernels) {
    if (kernel->supported()) {
      selection.kernel = kernel;
      break;
    }
  }
  return selection;
}

}  // namespace

const Kernel* find_kernel(const char* name, Error* error) {
  for (const Kernel* kernel : kKernels) {
    if (std::strcmp(kernel->name, name) != 0) continue;
    if (kernel->supported()) return kernel;
    error->fail("kernel '%s' (%s) needs instructions that this CPU lacks; this build has: %s", name,
                kForceVariable, kernel_names());
    return nullptr;
  }
  error->fail("there is no kernel '%s' (%s); this build has: %s", name, kForceVariable, kernel_names());
  return nullptr;
}

const Kernel* selected_kernel(Error* error) {
  static const Selection selection = select();
  if (selection.kernel == nullptr) *error = selection.error;
  return selection.kernel;
}

const char* kernel_names() {
  static const std::string names = [] {
    std::string joined;
    for (const Kernel* kernel : kKernels) joined += (joined.empty() ? "" : ",") + std::string(kernel->name);
    return joined;
  }();
  return names.c_str();
}

}  // namespace edge
