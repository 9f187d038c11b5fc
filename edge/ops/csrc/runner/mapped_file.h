// A file mapped read-only: its pages belong to the page cache, are shared between processes, and go
// when memory is short. Nothing is locked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace edge_runner {

class MappedFile {
 public:
  MappedFile() = default;
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  // False when it cannot be read. What is no regular file, or has nothing in it, opens with size 0.
  bool open(const std::string& path);

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace edge_runner
