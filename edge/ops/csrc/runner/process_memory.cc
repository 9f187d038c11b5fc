#include "runner/process_memory.h"

#include <climits>
#include <cstdlib>
#include <fstream>

namespace edge_runner {
namespace {

// Reads "Name:   123 kB" as bytes if the line has that name.
bool read_kilobytes(const std::string& line, const std::string& name, int64_t* bytes) {
  if (line.compare(0, name.size(), name) != 0) return false;
  *bytes = std::strtoll(line.c_str() + name.size(), nullptr, 10) * 1024;
  return true;
}

// Sums Rss over the mappings of one file. A mapping starts with "from-to perms offset dev inode path".
int64_t resident_of(const std::string& path) {
  char absolute[PATH_MAX];
  if (realpath(path.c_str(), absolute) == nullptr) return 0;
  const std::string ending = std::string(" ") + absolute;
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  bool inside = false;
  int64_t total = 0, bytes = 0;
  while (std::getline(maps, line)) {
    const size_t colon = line.find(':'), space = line.find(' ');
    if (space < colon) {  // a field's name ends in ':' before any space
      inside = line.size() > ending.size() &&
               line.compare(line.size() - ending.size(), ending.size(), ending) == 0;
    } else if (inside && read_kilobytes(line, "Rss:", &bytes)) {
      total += bytes;
    }
  }
  return total;
}

}  // namespace

ProcessMemory process_memory(const std::string& model_path) {
  ProcessMemory memory;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    read_kilobytes(line, "VmHWM:", &memory.peak_resident) ||
        read_kilobytes(line, "RssAnon:", &memory.anonymous) || read_kilobytes(line, "RssFile:", &memory.file);
  }
  memory.model_file = resident_of(model_path);
  return memory;
}

}  // namespace edge_runner
