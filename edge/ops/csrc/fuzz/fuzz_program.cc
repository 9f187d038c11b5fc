// Fuzzes the check of programs: whatever the bytes are, it gives a verdict and reads nothing outside them.
// Every operator counts as registered, so that the arguments of calls are checked too.
#include <cstdint>

#include "executorch/program_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto registered = [](const char*) { return true; };
  const edge::ProgramVerdict verdict = edge::check_program(data, size, {registered, INT64_MAX});
  // A program that cannot be used comes with a reason.
  if ((verdict.status == edge::ProgramStatus::kUsable) != verdict.reason.empty()) __builtin_trap();
  return 0;
}
