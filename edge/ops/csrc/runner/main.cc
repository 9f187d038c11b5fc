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
  bool first = true;
  const auto print_token = [&first](int64_t id) {
    std::printf(first ? "%" PRId64 : ",%" PRId64, id);
    std::fflush(stdout);
    first = false;
  };
  edge_runner::Stats stats;
  const bool ok = edge_runner::generate(options, print_token, &stats, &error);
  if (!first) std::printf("\n");
  if (!ok) {
    std::fprintf(stderr, "lowbit_runner: %s\n", error.c_str());
    return 2;
  }
  std::fprintf(stderr, "%s\n", edge_runner::stats_line(stats).c_str());
  return 0;
}
