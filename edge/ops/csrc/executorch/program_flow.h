// Data: that no kernel gets a tensor before something has given it memory, on any path.
#pragma once

#include <vector>

#include "core/error.h"
#include "executorch/program_steps.h"
#include "executorch/program_values.h"

namespace edge::program {

bool check_flow(const std::vector<Chain>& chains, const std::vector<Value>& values, Error* error);

}  // namespace edge::program
