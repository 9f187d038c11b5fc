// Selects the kernel: the first row of a table, best first, that this CPU supports.
#pragma once

#include "core/error.h"
#include "kernels/generic/kernel.h"

namespace edge {

inline constexpr const char* kForceVariable = "EDGE_FORCE_KERNEL";

// Returns the kernel called `name`, or null with a sentence if it is unknown or this CPU cannot run it.
const Kernel* find_kernel(const char* name, Error* error);

// Returns the best supported kernel, or the one that EDGE_FORCE_KERNEL names, or null with a sentence if that
// one cannot run. The choice is made once, at the first call.
const Kernel* selected_kernel(Error* error);

// Returns the names of all kernels in this build, best first, separated by commas.
const char* kernel_names();

}  // namespace edge
