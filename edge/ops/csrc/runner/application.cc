#include "runner/application.h"

#include <algorithm>

#include "runner/json.h"
#include "runner/runtime_log.h"
#include "runner/threads.h"

namespace edge_runner {
namespace {

constexpr int kMaxThreads = 256;

const char* name_of(End end) {
  switch (end) {
    case End::kEndToken:
      return "end";
    case End::kLength:
      return "length";
    case End::kContext:
      return "context";
    default:
      return "listener";
  }
}

std::string to_json(const Stats& stats) {
  JsonObject json;
  json.add("prompt_tokens", stats.prompt_tokens);
  json.add("generated_tokens", stats.generated_tokens);
  json.add("prefill_seconds", number(stats.prefill_seconds));
  json.add("decode_seconds", number(stats.decode_seconds));
  json.add("sampling_seconds", number(stats.sampling_seconds));
  json.add("end", quoted(name_of(stats.end)));
  return json.text();
}

// Replaces 0 by ExecuTorch's own choice, which earlier sessions may have changed.
bool choose_threads(int* threads, std::string* error) {
  keep_runtime_log();  // first, because the pool logs when it starts
  const int chosen = default_threads();
  if (*threads == 0) *threads = chosen;
  if (*threads >= 1 && *threads <= kMaxThreads) return true;
  *error = "the number of threads must be 0 to " + std::to_string(kMaxThreads) + ", not " +
           std::to_string(*threads);
  return false;
}

bool check(const GenerateConfig& config, std::string* error) {
  const SamplingConfig& sampling = config.sampling;
  if (!(sampling.temperature >= 0 && sampling.temperature <= 100)) {
    *error = "the temperature must be 0 to 100, not " + number(sampling.temperature);
  } else if (!(sampling.top_p >= 0 && sampling.top_p <= 1)) {
    *error = "top-p must be 0 to 1, not " + number(sampling.top_p);
  } else if (sampling.top_k < 0) {
    *error = "top-k must be 0 or more, not " + std::to_string(sampling.top_k);
  } else if (config.max_new_tokens < 0) {
    *error = "the number of new tokens must be 0 or more, not " + std::to_string(config.max_new_tokens);
  } else {
    return true;
  }
  return false;
}

bool all_in_range(const std::vector<int64_t>& values) {
  return std::all_of(values.begin(), values.end(), [](int64_t v) { return v >= 1 && v <= INT32_MAX; });
}

bool check(const BenchmarkConfig& config, std::string* error) {
  const bool usable = !config.prompt_lengths.empty() && all_in_range(config.prompt_lengths) &&
                      all_in_range(config.contexts) && all_in_range({config.generate}) &&
                      config.warmup >= 0 && config.warmup <= 1000 && config.runs >= 1 && config.runs <= 1000;
  if (!usable) {
    *error = "the benchmark needs lengths of at least 1 token, 0 to 1000 runs for warm-up and 1 to 1000 runs";
  }
  return usable;
}

}  // namespace

bool Session::open(const std::string& path, int threads, std::string* error) {
  Stats stats;
  return choose_threads(&threads, error) && load_timed(path, threads, nullptr, &program_, &stats, error);
}

std::string Session::describe() const {
  JsonObject json;
  json.add("kernel", quoted(program_.kernel()));
  json.add("file_bytes", static_cast<int64_t>(program_.file_bytes()));
  json.add("planned_bytes", static_cast<int64_t>(program_.planned_bytes()));
  json.add("vocab_size", program_.vocab_size());
  json.add("max_seq_len", program_.max_seq_len());
  json.add("eos_ids", integers(program_.eos_ids()));
  json.add("widths", integers(program_.widths()));
  return json.text();
}

bool Session::set_widths(const std::vector<int64_t>& bits, std::string* error) {
  return program_.set_widths(bits, error);
}

bool Session::generate(const GenerateConfig& config, const std::function<bool(int64_t id)>& wanted,
                       std::string* json, std::string* error) {
  const auto on_token = [&](int64_t id, const float*, int64_t) { return wanted(id); };
  Stats stats;
  if (!check(config, error) || !edge_runner::generate(&program_, config, on_token, &stats, error))
    return false;
  *json = to_json(stats);
  return true;
}

bool run_benchmark(BenchmarkConfig config, std::string* json, std::string* error) {
  BenchmarkResult result;
  if (!choose_threads(&config.threads, error) || !check(config, error) ||
      !benchmark(config, nullptr, &result, error)) {
    return false;
  }
  *json = to_json(result);
  return true;
}

std::string memory_json() {
  const ProcessMemory memory = process_memory("");
  JsonObject json;
  json.add("resident_bytes", memory.anonymous + memory.file);
  json.add("peak_bytes", memory.peak_resident);
  return json.text();
}

}  // namespace edge_runner
