#include "runner/output_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

namespace edge_runner {
namespace {

namespace fs = std::filesystem;

// Returns the path that a write to `path` creates or replaces: links, also those to nothing, are followed.
fs::path target_of(fs::path path) {
  constexpr int kMostLinks = 40;  // as Linux
  std::error_code failed;
  for (int links = 0; links < kMostLinks && fs::is_symlink(fs::symlink_status(path, failed)); ++links) {
    path = path.parent_path() / fs::read_symlink(path, failed);  // an absolute target replaces all
  }
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  return fs::weakly_canonical(folder, failed) / path.filename();
}

// Two names of one regular file, or of one that does not exist yet. Devices and pipes take several writers.
bool same_file(const std::string& a, const std::string& b) {
  struct stat first, second;
  const bool first_exists = stat(a.c_str(), &first) == 0, second_exists = stat(b.c_str(), &second) == 0;
  if (first_exists != second_exists) return false;
  if (!first_exists) return target_of(a) == target_of(b);
  return S_ISREG(first.st_mode) && first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

}  // namespace

OutputFile::~OutputFile() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  if (!partial_.empty()) std::remove(partial_.c_str());
}

bool OutputFile::open(const std::string& path) {
  struct stat status;
  path_ = path;
  if (lstat(path.c_str(), &status) != 0 || S_ISREG(status.st_mode)) {
    partial_ = path + "." + std::to_string(getpid()) + ".partial";
    file_ = std::fopen(partial_.c_str(), "wbx");  // x: never over another file
  }
  if (file_ == nullptr) {  // a device, or a file in a folder that takes no new ones
    partial_.clear();
    file_ = std::fopen(path.c_str(), "wb");
  }
  return file_ != nullptr;
}

bool OutputFile::write(const void* data, size_t bytes) {
  return std::fwrite(data, 1, bytes, file_) == bytes;
}

bool OutputFile::keep() {
  const bool closed = std::fclose(file_) == 0;
  file_ = nullptr;
  if (partial_.empty()) return closed;
  if (closed && std::rename(partial_.c_str(), path_.c_str()) == 0) return true;
  std::remove(partial_.c_str());
  return false;
}

bool check_outputs(const NamedPath& input, const std::vector<NamedPath>& outputs, std::string* error) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const NamedPath& output = outputs[i];
    if (output.path.empty()) continue;
    if (same_file(output.path, input.path)) {
      *error = std::string(output.flag) + " '" + output.path + "' is the file that " + input.flag +
               " reads and would overwrite it; give it another name";
      return false;
    }
    for (size_t j = 0; j < i; ++j) {
      if (outputs[j].path.empty() || !same_file(output.path, outputs[j].path)) continue;
      *error = std::string(outputs[j].flag) + " and " + output.flag + " write the same file '" + output.path +
               "'; give them two names";
      return false;
    }
  }
  return true;
}

}  // namespace edge_runner
