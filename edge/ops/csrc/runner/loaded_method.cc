#include "runner/loaded_method.h"

#include <utility>

namespace edge_runner {

using executorch::runtime::Error;
using executorch::runtime::EventTracer;
using executorch::runtime::MemoryManager;
using executorch::runtime::Method;
using executorch::runtime::MethodMeta;
using executorch::runtime::Program;

namespace {

// Whether a method's outputs lie in its planned memory. Others would be the caller's to provide.
bool plans_outputs(const MethodMeta& meta) {
  for (size_t i = 0; i < meta.num_outputs(); ++i) {
    const auto output = meta.output_tensor_meta(i);  // an error for what is no tensor
    if (output.ok() && !output->is_memory_planned()) return false;
  }
  return true;
}

}  // namespace

std::unique_ptr<LoadedMethod> LoadedMethod::load(const Program& program, const char* name,
                                                 EventTracer* tracer, Error* status) {
  std::unique_ptr<LoadedMethod> loaded(new LoadedMethod());
  const auto meta = program.method_meta(name);
  if (!meta.ok()) {
    *status = meta.error();
    return nullptr;
  }
  if (!plans_outputs(*meta)) {
    *status = Error::NotSupported;
    return nullptr;
  }
  if (!loaded->planned_.allocate(*meta)) {
    *status = Error::MemoryAllocationFailed;
    return nullptr;
  }
  loaded->memory_ =
      std::make_unique<MemoryManager>(&loaded->tables_, loaded->planned_.allocator(), &loaded->scratch_);
  auto method = program.load_method(name, loaded->memory_.get(), tracer);
  *status = method.error();
  if (!method.ok()) return nullptr;
  loaded->method_ = std::make_unique<Method>(std::move(*method));
  return loaded;
}

}  // namespace edge_runner
