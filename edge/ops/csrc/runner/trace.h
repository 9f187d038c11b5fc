// ExecuTorch's trace (ETDump) of every operator's time, for executorch.devtools.Inspector. Tracing slows a
// program by some percent, so take headline times without it. Built from trace.cc where ExecuTorch has a
// tracer and from no_trace.cc where it has none, as on Android.
#pragma once

#include <executorch/runtime/core/event_tracer.h>

#include <memory>
#include <string>

namespace edge_runner {

// Returns a tracer to load a program with, or null with a sentence.
std::unique_ptr<executorch::runtime::EventTracer> make_tracer(std::string* error);

// Writes the trace of a tracer that make_tracer made; call it once, after the last step. Returns false with a
// sentence if there is no trace or the file cannot be written.
bool write_trace(executorch::runtime::EventTracer* tracer, const std::string& path, std::string* error);

}  // namespace edge_runner
