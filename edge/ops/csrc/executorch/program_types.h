// Types: that every kernel gets arguments of the types that it reads, whatever ran before.
#pragma once

#include <vector>

#include "core/error.h"
#include "executorch/program_steps.h"
#include "executorch/program_values.h"

namespace edge::program {

// Follows through the instructions what may become of the values: which numbers change their type, and which
// tensors come to stand for memory that must not be written. Only then it checks the arguments of every step.
bool check_types(const std::vector<Chain>& chains, std::vector<Value>* values, Error* error);

}  // namespace edge::program
