// A file mapped read-only. Its pages are shared between processes, and the system drops them when memory is
// short.
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

  // Returns false if the file cannot be read. An empty file, or one that is not regular, opens with size 0.
  bool open(const std::string& path);

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace edge_runner
