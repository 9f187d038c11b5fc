#include "runner/trace.h"

#include <executorch/devtools/etdump/etdump_flatcc.h>

#include <cstdlib>

#include "runner/output_file.h"

namespace edge_runner {

using executorch::etdump::ETDumpGen;

std::unique_ptr<executorch::runtime::EventTracer> make_tracer(std::string*) {
  return std::make_unique<ETDumpGen>();
}

bool write_trace(executorch::runtime::EventTracer* tracer, const std::string& path, std::string* error) {
  const executorch::etdump::ETDumpResult trace = static_cast<ETDumpGen*>(tracer)->get_etdump_data();
  if (trace.buf == nullptr || trace.size == 0) {
    *error = "there is no trace to write: the program ran no step";
    return false;
  }
  OutputFile file;
  const bool written = file.open(path) && file.write(trace.buf, trace.size) && file.keep();
  std::free(trace.buf);
  if (!written) *error = "cannot write the trace '" + path + "'";
  return written;
}

}  // namespace edge_runner
