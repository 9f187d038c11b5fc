#include "runner/runtime_log.h"

#include <executorch/runtime/platform/platform.h>

#include <mutex>
#include <vector>

namespace edge_runner {
namespace {

constexpr size_t kMaxLines = 256;  // a delegate may repeat its errors

struct Log {
  std::mutex mutex;  // any thread of the pool may log
  std::vector<std::string> lines;
};

Log& the_log() {
  static Log log;
  return log;
}

void keep(et_timestamp_t, et_pal_log_level_t level, const char*, const char*, size_t, const char* message,
          size_t length) {
  if (level != kError && level != kFatal) return;
  Log& log = the_log();
  const std::lock_guard<std::mutex> lock(log.mutex);
  if (log.lines.size() < kMaxLines) log.lines.emplace_back(message, length);
}

}  // namespace

void keep_runtime_log() {
  static const bool registered =
      executorch::runtime::register_pal(executorch::runtime::PalImpl::create(keep, __FILE__));
  (void)registered;
}

void clear_runtime_log() {
  Log& log = the_log();
  const std::lock_guard<std::mutex> lock(log.mutex);
  log.lines.clear();
}

// Drops the condition that ExecuTorch prints first, and bytes that are not text.
std::string first_complaint() {
  Log& log = the_log();
  const std::lock_guard<std::mutex> lock(log.mutex);
  if (log.lines.empty()) return "no reason given";
  std::string line = log.lines.front();
  const size_t lowbit = line.find("lowbit::");
  if (lowbit != std::string::npos) line.erase(0, lowbit);
  for (char& c : line) {
    if (c < ' ' || c > '~') c = '?';
  }
  return line;
}

}  // namespace edge_runner
