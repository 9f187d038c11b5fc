// Greedy generation with an exported program: forward(tokens [1,T], input_pos [1]) -> logits of the
// last token, [1,V] or [1,T,V].
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "options.h"

namespace edge_runner {

// Milliseconds since the epoch, under the names of ExecuTorch's stock runner.
struct Stats {
  int64_t model_load_start_ms = 0, model_load_end_ms = 0;
  int64_t inference_start_ms = 0, prompt_eval_end_ms = 0, first_token_ms = 0, inference_end_ms = 0;
  int64_t prompt_tokens = 0, generated_tokens = 0;
  double prefill_seconds = 0, decode_seconds = 0;
};

// A new id and the logits it was picked from; false stops the generation.
using OnToken = std::function<bool(int64_t id, const float* logits, int64_t vocab_size)>;

// Calls on_token for every new id, the end token included. Stops at an end token, after
// max_new_tokens, or when the cache is full. False and one sentence when the program, its ops or
// the tokens cannot be used.
bool generate(const Options& options, const OnToken& on_token, Stats* stats, std::string* error);

// The line that ExecuTorch's tools look for: "PyTorchObserver {json}".
std::string stats_line(const Stats& stats);

}  // namespace edge_runner
