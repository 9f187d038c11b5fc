// Text generation with a loaded program: prefill, then decode and sample, token by token.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "runner/program.h"
#include "runner/sampler.h"
#include "runner/stats.h"

namespace edge_runner {

struct GenerateConfig {
  std::vector<int64_t> prompt;  // at least one id
  int64_t max_new_tokens = 32;
  std::optional<int64_t> eos;  // default: the program's get_eos_ids
  SamplingConfig sampling;
};

// A new id and the logits it was picked from, which stay valid during the call; false stops the
// generation.
using OnToken = std::function<bool(int64_t id, const float* logits, int64_t vocab_size)>;

// Loads a program as LanguageProgram does, with `threads` of the pool (0: ExecuTorch's own choice),
// and notes when.
bool load_timed(const std::string& path, int threads, executorch::runtime::EventTracer* tracer,
                LanguageProgram* program, Stats* stats, std::string* error);

// Starts a new sequence and calls on_token for every new id, the end token included. Stops at an end
// token, after max_new_tokens, or when the cache is full. False and one sentence when the program
// refuses the tokens.
bool generate(LanguageProgram* program, const GenerateConfig& config, const OnToken& on_token, Stats* stats,
              std::string* error);

}  // namespace edge_runner
