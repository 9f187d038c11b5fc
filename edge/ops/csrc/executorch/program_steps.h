// The instructions of a method, read from its tables, with every index checked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"
#include "executorch/flatbuffer.h"
#include "executorch/program_schema.h"
#include "executorch/program_values.h"
#include "executorch/signatures.h"

namespace edge::program {

struct Operator {
  std::string name;  // with its overload
  const Signature* signature = nullptr;
};

struct Step {
  Instruction type = Instruction::kNotSet;
  const Operator* op = nullptr;    // of a kernel call
  int32_t delegate = 0;            // of a delegate call
  std::vector<int32_t> arguments;  // of both calls
  int32_t from = 0, to = 0;        // of a move
  int32_t condition = 0;           // of a jump that is taken when it is false
  size_t destination = 0;          // of a jump: a step of its chain, or its end

  // The letter of a kernel's result, 0 where there is none.
  char result() const { return op != nullptr ? op->signature->result[0] : '\0'; }
};

using Chain = std::vector<Step>;

// What the instructions refer to.
struct Parts {
  const std::vector<Operator>& operators;
  const std::vector<Value>& values;
  uint32_t delegates;
};

// Reads the chains; false unless every index is in range and kernels get as many arguments as they read.
bool read_chains(const flatbuffer::Tables& chains, const Parts& parts, std::vector<Chain>* read,
                 Error* error);

}  // namespace edge::program
