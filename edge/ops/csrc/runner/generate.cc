#include "generate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "program.h"

namespace edge_runner {
namespace {

using Clock = std::chrono::steady_clock;

int64_t epoch_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The lowest id among the largest logits; -1 when there is NaN, which means the model is broken.
int64_t argmax(const float* logits, int64_t count) {
  int64_t best = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (std::isnan(logits[i])) return -1;
    if (logits[i] > logits[best]) best = i;
  }
  return best;
}

struct Picked {
  int64_t id;
  const float* logits;  // valid until the next step
};

// Feeds tokens at `position`, all at once where the program allows it, and picks the next id.
bool step(LanguageProgram* program, const std::vector<int64_t>& tokens, int64_t position, Picked* picked,
          std::string* error) {
  const int64_t count = static_cast<int64_t>(tokens.size());
  const int64_t chunk = program->dynamic_shape() ? count : 1;
  for (int64_t done = 0; done < count; done += chunk) {
    picked->logits = program->forward(tokens.data() + done, chunk, position + done, error);
    if (picked->logits == nullptr) return false;
  }
  picked->id = argmax(picked->logits, program->vocab_size());
  if (picked->id < 0) *error = "the program's logits are not numbers (NaN); its weights are broken";
  return picked->id >= 0;
}

bool load(const Options& options, LanguageProgram* program, Stats* stats, std::string* error) {
  stats->model_load_start_ms = epoch_ms();
  if (options.threads > 0 && !set_threads(options.threads)) {
    *error = "cannot set " + std::to_string(options.threads) + " threads";
    return false;
  }
  if (!program->load(options.model, error)) return false;
  stats->model_load_end_ms = epoch_ms();
  const int64_t prompt = static_cast<int64_t>(options.tokens.size());
  if (prompt > program->max_seq_len()) {
    *error = "the prompt has " + std::to_string(prompt) + " tokens, the program holds " +
             std::to_string(program->max_seq_len());
    return false;
  }
  return true;
}

bool is_end(const Options& options, const LanguageProgram& program, int64_t id) {
  if (options.eos.has_value()) return id == *options.eos;
  const auto& ids = program.eos_ids();
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

bool generate(const Options& options, const OnToken& on_token, Stats* stats, std::string* error) {
  LanguageProgram program;
  if (!load(options, &program, stats, error)) return false;

  stats->inference_start_ms = epoch_ms();
  stats->prompt_tokens = static_cast<int64_t>(options.tokens.size());
  int64_t position = stats->prompt_tokens;
  Picked next;
  auto start = Clock::now();
  if (!step(&program, options.tokens, 0, &next, error)) return false;
  stats->prefill_seconds = seconds_since(start);
  stats->prompt_eval_end_ms = stats->first_token_ms = epoch_ms();

  start = Clock::now();
  for (;;) {
    const bool wanted = on_token(next.id, next.logits, program.vocab_size());
    ++stats->generated_tokens;
    if (!wanted || is_end(options, program, next.id) || stats->generated_tokens >= options.max_new_tokens ||
        position >= program.max_seq_len()) {
      break;
    }
    if (!step(&program, {next.id}, position++, &next, error)) return false;
  }
  stats->decode_seconds = seconds_since(start);
  stats->inference_end_ms = epoch_ms();
  return true;
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
                "\"prompt_eval_end_ms\":%lld,\"first_token_ms\":%lld,\"aggregate_sampling_time_ms\":0,"
                "\"SCALING_FACTOR_UNITS_PER_SECOND\":1000}",
                rate(s.prompt_tokens, s.prefill_seconds), rate(s.generated_tokens - 1, s.decode_seconds),
                static_cast<long long>(s.prompt_tokens), static_cast<long long>(s.generated_tokens),
                static_cast<long long>(s.model_load_start_ms), static_cast<long long>(s.model_load_end_ms),
                static_cast<long long>(s.inference_start_ms), static_cast<long long>(s.inference_end_ms),
                static_cast<long long>(s.prompt_eval_end_ms), static_cast<long long>(s.first_token_ms));
  return line;
}

}  // namespace edge_runner
