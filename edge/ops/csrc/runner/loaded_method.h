// One method of a program with the memory it runs in: what ExecuTorch's Module does, less its zeroed
// arenas and its copies.
#pragma once

#include <executorch/extension/memory_allocator/malloc_memory_allocator.h>
#include <executorch/runtime/core/event_tracer.h>
#include <executorch/runtime/executor/memory_manager.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>

#include <memory>

#include "runner/memory.h"

namespace edge_runner {

class LoadedMethod {
 public:
  // Null, with the reason in `status`, when the method cannot be loaded. The program and the tracer
  // must outlive it.
  static std::unique_ptr<LoadedMethod> load(const executorch::runtime::Program& program, const char* name,
                                            executorch::runtime::EventTracer* tracer,
                                            executorch::runtime::Error* status);

  executorch::runtime::Method& method() { return *method_; }
  size_t planned_bytes() const { return planned_.bytes(); }

 private:
  LoadedMethod() = default;

  executorch::extension::MallocMemoryAllocator structures_;  // the runtime's own tables
  PlannedMemory planned_;
  ScratchMemory scratch_;
  std::unique_ptr<executorch::runtime::MemoryManager> memory_;
  std::unique_ptr<executorch::runtime::Method> method_;  // declared last: it uses all of the above
};

}  // namespace edge_runner
