// One method of a program with its memory. Unlike ExecuTorch's Module, it neither clears its arenas nor
// copies inputs and outputs.
#pragma once

#include <executorch/runtime/core/event_tracer.h>
#include <executorch/runtime/executor/memory_manager.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>

#include <memory>

#include "runner/memory.h"

namespace edge_runner {

class LoadedMethod {
 public:
  // Returns null, with the reason in `status`, if the method cannot be loaded: NotSupported where the caller
  // would have to provide the memory of outputs. The program and the tracer must outlive it.
  static std::unique_ptr<LoadedMethod> load(const executorch::runtime::Program& program, const char* name,
                                            executorch::runtime::EventTracer* tracer,
                                            executorch::runtime::Error* status);

  executorch::runtime::Method& method() { return *method_; }
  size_t planned_bytes() const { return planned_.bytes(); }

 private:
  LoadedMethod() = default;

  TableMemory tables_;
  PlannedMemory planned_;
  ScratchMemory scratch_;
  std::unique_ptr<executorch::runtime::MemoryManager> memory_;
  std::unique_ptr<executorch::runtime::Method> method_;  // last, because it uses all of the above
};

}  // namespace edge_runner
