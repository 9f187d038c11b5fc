#include "runner/stats.h"

#include <cstdio>

namespace edge_runner {

int64_t epoch_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

std::string stats_line(const Stats& s) {
  const auto rate = [](int64_t tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  };
  char line[768];
  std::snprintf(line, sizeof(line),
                "PyTorchObserver {\"prefill_token_per_sec\":%.6g,\"decode_token_per_sec\":%.6g,"
                "\"prompt_tokens\":%lld,\"generated_tokens\":%lld,\"model_load_start_ms\":%lld,"
                "\"model_load_end_ms\":%lld,\"inference_start_ms\":%lld,\"inference_end_ms\":%lld,"
                "\"prompt_eval_end_ms\":%lld,\"first_token_ms\":%lld,\"aggregate_sampling_time_ms\":%.0f,"
                "\"SCALING_FACTOR_UNITS_PER_SECOND\":1000}",
                rate(s.prompt_tokens, s.prefill_seconds), rate(s.generated_tokens - 1, s.decode_seconds),
                static_cast<long long>(s.prompt_tokens), static_cast<long long>(s.generated_tokens),
                static_cast<long long>(s.model_load_start_ms), static_cast<long long>(s.model_load_end_ms),
                static_cast<long long>(s.inference_start_ms), static_cast<long long>(s.inference_end_ms),
                static_cast<long long>(s.prompt_eval_end_ms), static_cast<long long>(s.first_token_ms),
                s.sampling_seconds * 1e3);
  return line;
}

}  // namespace edge_runner
