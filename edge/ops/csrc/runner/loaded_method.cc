#include "runner/loaded_method.h"

#include <utility>

namespace edge_runner {

using executorch::runtime::Error;
using executorch::runtime::EventTracer;
using executorch::runtime::MemoryManager;
using executorch::runtime::Method;
using executorch::runtime::Program;

std::unique_ptr<LoadedMethod> LoadedMethod::load(const Program& program, const char* name,
                                                 EventTracer* tracer, Error* status) {
  std::unique_ptr<LoadedMethod> loaded(new LoadedMethod());
  const auto meta = program.method_meta(name);
  if (!meta.ok()) {
    *status = meta.error();
    return nullptr;
  }
  if (!loaded->planned_.allocate(*meta)) {
    *status = Error::MemoryAllocationFailed;
    return nullptr;
  }
  loaded->memory_ =
      std::make_unique<MemoryManager>(&loaded->structures_, loaded->planned_.allocator(), &loaded->scratch_);
  auto method = program.load_method(name, loaded->memory_.get(), tracer);
  *status = method.error();
  if (!method.ok()) return nullptr;
  loaded->method_ = std::make_unique<Method>(std::move(*method));
  return loaded;
}

}  // namespace edge_runner
