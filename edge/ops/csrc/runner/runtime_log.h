// Keeps the errors of ExecuTorch's log: only the log has the cause of a failure.
#pragma once

#include <string>

namespace edge_runner {

// Redirects ExecuTorch's log from stderr to here, for the whole process. Call it before anything else of
// ExecuTorch; further calls do nothing.
void keep_runtime_log();

void clear_runtime_log();

// Returns the first error since the log was cleared, which has the cause; later ones only pass it on.
std::string first_complaint();

}  // namespace edge_runner
