#include "runner/trace.h"

namespace edge_runner {

std::unique_ptr<executorch::runtime::EventTracer> make_tracer(std::string* error) {
  *error = "--etdump needs a tracer, which ExecuTorch has on Linux and not here: leave it out";
  return nullptr;
}

bool write_trace(executorch::runtime::EventTracer*, const std::string&, std::string*) {
  return false;  // there is no tracer to call it with
}

}  // namespace edge_runner
