// ExecuTorch's trace (ETDump): every operator with its time, for executorch.devtools.Inspector.
// Tracing slows a program by some percent; time without it.
#pragma once

#include <executorch/devtools/etdump/etdump_flatcc.h>

#include <string>

namespace edge_runner {

// Writes what the tracer saw; call once, after the last step. False and one sentence when there is
// nothing to write or the file cannot be written.
bool write_trace(executorch::etdump::ETDumpGen* tracer, const std::string& path, std::string* error);

}  // namespace edge_runner
