// Delegates of XNNPACK: that a call gives the tensors that the delegate's graph reads and writes. XNNPACK
// takes the graph's numbers for indexes of the arguments, and its types for theirs.
#pragma once

#include <cstdint>
#include <vector>

#include "core/error.h"
#include "executorch/program_data.h"
#include "executorch/program_steps.h"
#include "executorch/program_values.h"

namespace edge::program {

// A value of the graph that is an argument of every call.
struct External {
  uint32_t argument = 0;
  int element_bytes = 0;
  bool written = false;
};

using Externals = std::vector<External>;

constexpr char kXnnpack[] = "XnnpackBackend";

// Reads the external values of a graph from a delegate's data; false unless its constants are as large as
// their shapes say, in the graph or among the program's named data.
bool read_externals(const uint8_t* data, uint64_t size, const Data& program_data, Externals* externals,
                    Error* error);

// Checks the calls of delegates; `externals` has an entry for each, empty for backends other than XNNPACK.
bool check_delegate_calls(const std::vector<Chain>& chains, const std::vector<Externals>& externals,
                          const std::vector<Value>& values, Error* error);

}  // namespace edge::program
