// ExecuTorch's trace (ETDump) of every operator's time, for executorch.devtools.Inspector. Tracing slows a
// program by some percent, so take headline times without it.
#pragma once

#include <executorch/devtools/etdump/etdump_flatcc.h>

#include <string>

namespace edge_runner {

// Writes the trace; call it once, after the last step. Returns false with a sentence if there is no trace or
// the file cannot be written.
bool write_trace(executorch::etdump::ETDumpGen* tracer, const std::string& path, std::string* error);

}  // namespace edge_runner
