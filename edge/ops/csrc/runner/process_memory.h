// The memory of this process in bytes, as Linux and Android report it.
#pragma once

#include <cstdint>
#include <string>

namespace edge_runner {

struct ProcessMemory {
  int64_t peak_resident = 0;  // VmHWM: the most memory used at any time
  int64_t anonymous = 0;      // RssAnon now: heap, stacks, KV cache, activations
  int64_t file = 0;           // RssFile now: pages of files, shared with other processes
  int64_t model_file = 0;     // the part of `file` that is pages of the model
};

// Fields that the system does not report stay 0.
ProcessMemory process_memory(const std::string& model_path);

}  // namespace edge_runner
