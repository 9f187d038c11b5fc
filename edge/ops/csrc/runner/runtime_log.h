// ExecuTorch reports causes only to its log, so the library keeps the errors and quotes them.
#pragma once

#include <string>

namespace edge_runner {

// Sends ExecuTorch's log here instead of stderr, for the whole process; call it before anything else
// of ExecuTorch. Further calls do nothing.
void keep_runtime_log();

void clear_runtime_log();

// The first complaint since the log was cleared; later ones only say who passed it on.
std::string first_complaint();

// The operators that a program asked for and nobody registered, separated by commas.
std::string missing_operators();

}  // namespace edge_runner
