// The command line of lowbit_runner.
#pragma once

#include <string>
#include <vector>

#include "runner/benchmark.h"
#include "runner/generate.h"

namespace edge_runner {

struct Options {
  std::string model;            // path of the .pte
  std::vector<int64_t> widths;  // bits of an elastic program: none, one, or one for each layer
  int threads = 0;              // 0: ExecuTorch's own choice
  GenerateConfig generate;
  std::string logits;  // file for the logits of every step, float32 [steps, vocabulary]
  std::string etdump;  // file for the trace
  bool benchmark_mode = false;
  BenchmarkConfig benchmark;  // without model and threads
  bool help = false;
};

extern const char* const kUsage;

// Returns false with a sentence in `error` if the arguments cannot be used.
bool parse_options(int argc, char** argv, Options* options, std::string* error);

}  // namespace edge_runner
