// Times of a generation, and the line that ExecuTorch's tools read.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace edge_runner {

// Why a generation ended: an end token, as many tokens as wanted, a full KV cache, or on_token said so.
enum class End { kNone, kEndToken, kLength, kContext, kListener };

// Times in milliseconds since the epoch, under the names of ExecuTorch's stock runner.
struct Stats {
  int64_t model_load_start_ms = 0, model_load_end_ms = 0;
  int64_t inference_start_ms = 0, prompt_eval_end_ms = 0, first_token_ms = 0, inference_end_ms = 0;
  int64_t prompt_tokens = 0, generated_tokens = 0;
  double prefill_seconds = 0, decode_seconds = 0, sampling_seconds = 0;
  End end = End::kNone;
};

// "PyTorchObserver {json}".
std::string stats_line(const Stats& stats);

int64_t epoch_ms();

// Elapsed time by the steady clock.
class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

}  // namespace edge_runner
