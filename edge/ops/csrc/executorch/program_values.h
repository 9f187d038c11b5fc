// The values of a method: what each is, and that each tensor has the memory that it claims.
#pragma once

#include <cstdint>
#include <vector>

#include "core/error.h"
#include "executorch/flatbuffer.h"
#include "executorch/program_data.h"
#include "executorch/program_schema.h"

namespace edge::program {

// What the instructions need to know of a value. The flags change as the instructions are read.
struct Value {
  Kind kind = Kind::kNotSet;
  // Of a tensor.
  int8_t scalar_type = 0;
  uint8_t dims = 0;
  bool empty = false;      // no bytes, so that no data is needed
  bool has_data = false;   // from the start of the method on
  bool read_only = false;  // its memory is the file's, or is that of a tensor that another value stands for
  bool planned = false;
  // Of an integer.
  int64_t integer = 0;
  // Of a number.
  bool any_number = false;  // an instruction may make it an integer, a float or a bool
  bool written = false;     // by an instruction
  bool is_input = false;
  // Of a list of values.
  std::vector<int32_t> items;

  bool is_number() const { return kind == Kind::kInt || kind == Kind::kBool || kind == Kind::kDouble; }
  bool is_only(Kind wanted) const { return kind == wanted && !any_number; }
};

// Reads `values`; false unless every tensor has a shape that the runtime can compute with, and lies in a
// constant or in one of the planned buffers, of `buffer_bytes` each.
bool read_values(const flatbuffer::Tables& values, const Data& data, const std::vector<int64_t>& buffer_bytes,
                 std::vector<Value>* read, Error* error);

}  // namespace edge::program
