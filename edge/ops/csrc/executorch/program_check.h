// The check of a program of ExecuTorch before ExecuTorch loads it. The runtime believes most of what a file
// says: which arguments a kernel gets, that a tensor has memory, where a jump leads. A damaged or hostile
// file would end the process, or worse. This check reads the tables itself, in a few passes, and no weights.
// It knows nothing of language models: whoever runs the program asks for the methods that it needs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace edge {

enum class ProgramStatus { kUsable, kUnusable, kLacksOperators };

// What the check asks of the runtime that will load the program.
struct ProgramRuntime {
  bool (*has_operator)(const char* name);  // with its overload, as in aten::add.out
  int64_t max_planned_bytes;               // that all of a program's planned buffers may take
};

struct ProgramVerdict {
  ProgramStatus status = ProgramStatus::kUsable;
  std::string reason;  // what is wrong; of operators that are not registered the names, separated by commas
};

ProgramVerdict check_program(const uint8_t* data, size_t size, const ProgramRuntime& runtime);

}  // namespace edge
