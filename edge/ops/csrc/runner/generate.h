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
  int64_t position = 0;         // of the prompt's first id; the KV cache holds the positions before it
  int64_t max_new_tokens = 32;  // 0: only fill the KV cache
  std::optional<int64_t> eos;   // default: the program's get_eos_ids
  SamplingConfig sampling;
};

// Receives a new id and its logits, which are valid during the call. Returns false to stop.
using OnToken = std::function<bool(int64_t id, const float* logits, int64_t vocab_size)>;

// Loads a program as LanguageProgram does, with `threads` threads (0: ExecuTorch's own choice), and records
// the times.
bool load_timed(const std::string& path, int threads, executorch::runtime::EventTracer* tracer,
                LanguageProgram* program, Stats* stats, std::string* error);

// Starts a new sequence, or continues one at config.position, and calls on_token for every new id, including
// the end token. Stops at an end token, after max_new_tokens, or when the cache is full. Returns false with a
// sentence if the program refuses the tokens.
bool generate(LanguageProgram* program, const GenerateConfig& config, const OnToken& on_token, Stats* stats,
              std::string* error);

}  // namespace edge_runner
