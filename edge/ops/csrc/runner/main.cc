// lowbit_runner: runs an exported language model greedily, with no Python. Exit code 2 and one
// sentence on stderr when the input cannot be used.
#include <cinttypes>
#include <cstdio>

#include "generate.h"
#include "options.h"

int main(int argc, char** argv) {
  edge_runner::Options options;
  std::string error;
  if (!edge_runner::parse_options(argc, argv, &options, &error)) {
    std::fprintf(stderr, "lowbit_runner: %s\n", error.c_str());
    return 2;
  }
  if (options.help) {
    std::fputs(edge_runner::kUsage, stdout);
    return 0;
  }
  std::FILE* logits_file = nullptr;
  if (!options.logits.empty() && (logits_file = std::fopen(options.logits.c_str(), "wb")) == nullptr) {
    std::fprintf(stderr, "lowbit_runner: cannot write '%s'\n", options.logits.c_str());
    return 2;
  }
  bool first = true, written = true;
  const auto on_token = [&](int64_t id, const float* logits, int64_t vocab_size) {
    std::printf(first ? "%" PRId64 : ",%" PRId64, id);
    std::fflush(stdout);
    first = false;
    const auto count = static_cast<size_t>(vocab_size);
    written = logits_file == nullptr || std::fwrite(logits, sizeof(float), count, logits_file) == count;
    return written;
  };
  edge_runner::Stats stats;
  bool ok = edge_runner::generate(options, on_token, &stats, &error);
  if (!first) std::printf("\n");
  if (logits_file != nullptr && (std::fclose(logits_file) != 0 || !written)) {
    ok = false;
    error = "cannot write '" + options.logits + "': is the disk full?";
  }
  if (!ok) {
    std::fprintf(stderr, "lowbit_runner: %s\n", error.c_str());
    return 2;
  }
  std::fprintf(stderr, "%s\n", edge_runner::stats_line(stats).c_str());
  return 0;
}
