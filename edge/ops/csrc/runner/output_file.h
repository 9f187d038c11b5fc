// A file that the runner writes. A file appears whole or not at all: it is written beside its place, under a
// name that is new, and takes it when it is complete, so that a failed run leaves an earlier file as it was.
// Devices, pipes and symbolic links are written in place.
#pragma once

#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

namespace edge_runner {

class OutputFile {
 public:
  OutputFile() = default;
  ~OutputFile();  // removes what was written, unless it was kept
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // All return false where the file cannot be written.
  bool open(const std::string& path);
  bool write(const void* data, size_t bytes);
  bool keep();  // call it once, at the end

 private:
  std::string path_, partial_;  // partial_ is empty for what is written in place
  std::FILE* file_ = nullptr;
};

// A path of the command line, with the flag that gave it.
struct NamedPath {
  const char* flag;
  std::string path;  // empty: not given
};

// Returns false with a sentence if an output would overwrite the input or another output: the same file under
// any name, hard and symbolic links included. Opens nothing.
bool check_outputs(const NamedPath& input, const std::vector<NamedPath>& outputs, std::string* error);

}  // namespace edge_runner
