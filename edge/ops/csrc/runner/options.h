// The runner's command line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace edge_runner {

struct Options {
  std::string model;            // path of the .pte
  std::vector<int64_t> tokens;  // the prompt, at least one id
  int64_t max_new_tokens = 32;
  int threads = 0;             // 0: ExecuTorch's own choice
  std::optional<int64_t> eos;  // default: the program's get_eos_ids
  std::string logits;          // file for every step's logits, float32 [steps, vocabulary]
  bool help = false;
};

extern const char* const kUsage;

// False and one sentence in `error` when the arguments cannot be used.
bool parse_options(int argc, char** argv, Options* options, std::string* error);

}  // namespace edge_runner
