// Which kernel runs: the first supported row of an ordered table, best first.
#pragma once

#include "core/error.h"
#include "kernels/generic/kernel.h"

namespace edge {

inline constexpr const char* kForceVariable = "EDGE_FORCE_KERNEL";

// The kernel called `name`, or null with a sentence: unknown, or not supported by this CPU.
const Kernel* find_kernel(const char* name, Error* error);

// The best supported kernel, or the one that EDGE_FORCE_KERNEL names. Chosen at the first call and
// kept. Null with a sentence when the variable names a kernel that cannot run.
const Kernel* selected_kernel(Error* error);

// Names in the order of preference, separated by commas, supported or not.
const char* kernel_names();

}  // namespace edge
