#include "runner/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/c_api.h"

namespace edge_runner {

// The ops know tables by their addresses, which are free once the file is unmapped.
MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  munmap(data_, size_);
  edge_programs_changed();
}

bool MappedFile::open(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  struct stat status;
  if (fstat(file, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
    void* mapped = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_PRIVATE, file, 0);
    if (mapped != MAP_FAILED) {
      data_ = static_cast<uint8_t*>(mapped);
      size_ = static_cast<size_t>(status.st_size);
      edge_programs_changed();
    }
  }
  close(file);  // the mapping stays valid
  return true;
}

}  // namespace edge_runner
