#include "runner/trace.h"

#include <cstdio>
#include <cstdlib>

namespace edge_runner {

bool write_trace(executorch::etdump::ETDumpGen* tracer, const std::string& path, std::string* error) {
  const executorch::etdump::ETDumpResult trace = tracer->get_etdump_data();
  if (trace.buf == nullptr || trace.size == 0) {
    *error = "there is no trace to write: the program ran no step";
    return false;
  }
  std::FILE* file = std::fopen(path.c_str(), "wb");
  bool written = file != nullptr && std::fwrite(trace.buf, 1, trace.size, file) == trace.size;
  written = file != nullptr && std::fclose(file) == 0 && written;
  std::free(trace.buf);
  if (!written) *error = "cannot write the trace '" + path + "'";
  return written;
}

}  // namespace edge_runner
