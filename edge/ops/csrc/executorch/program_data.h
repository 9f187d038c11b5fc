// Where a program's data lies: the file's header, its segments, and the constants in them. What it has to say
// about a piece of data it says from the tables alone; it reads no weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "executorch/flatbuffer.h"

namespace edge::program {

// The header: how much of the file is the flatbuffer, and where the segments start.
struct Header {
  uint64_t file_bytes = 0;
  uint64_t flatbuffer_bytes = 0;
  uint64_t segments_at = 0;  // 0: there are none
};

bool read_header(const uint8_t* data, size_t size, Header* header, Error* error);

class Data {
 public:
  // Reads the tables of segments; false unless every segment and every constant's start lies in the file.
  bool read(const flatbuffer::Table& program, const Header& header, Error* error);

  // Both are false unless a tensor's bytes lie where its index says, aligned for its elements: a constant, or
  // the initial state of a tensor that changes.
  bool has_constant(uint32_t index, uint64_t bytes, uint64_t alignment, Error* error) const;
  bool has_initial_state(uint32_t index, uint64_t bytes, Error* error) const;

  struct Extent {
    uint64_t at = 0;  // in the file
    uint64_t bytes = 0;
  };

  // Bytes of named data; 0 where there is none of that name.
  uint64_t named_bytes(std::string_view name) const;

  // Finds a delegate's data; false unless its reference leads to some.
  bool find_delegate_data(const flatbuffer::Table& reference, Extent* found, Error* error) const;

 private:
  bool read_segments(const flatbuffer::Tables& segments, const Header& header, Error* error);
  bool read_offsets(const flatbuffer::Table& table, const char* what, Extent* segment,
                    std::vector<uint64_t>* offsets, Error* error) const;
  bool read_inline_constants(const flatbuffer::Tables& buffers, Error* error);
  bool read_named_data(const flatbuffer::Tables& entries, Error* error);

  std::vector<Extent> segments_;
  Extent constants_, mutable_data_;
  std::vector<uint64_t> constant_offsets_, mutable_offsets_;
  std::vector<Extent> inline_constants_;  // of old programs, which keep constants in the flatbuffer
  std::vector<Extent> inline_delegates_;
  std::map<std::string, uint64_t, std::less<>> named_bytes_;
};

}  // namespace edge::program
