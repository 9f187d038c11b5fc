#include "runner/benchmark.h"

#include <algorithm>

#include "runner/generate.h"
#include "runner/random.h"
#include "runner/threads.h"

namespace edge_runner {
namespace {

constexpr uint64_t kPromptSeed = 1;

std::vector<int64_t> random_tokens(int64_t count, int64_t vocab_size) {
  SplitMix64 random(kPromptSeed);
  std::vector<int64_t> tokens(static_cast<size_t>(count));
  for (int64_t& token : tokens)
    token = static_cast<int64_t>(random.next() % static_cast<uint64_t>(vocab_size));
  return tokens;
}

int64_t largest(const std::vector<int64_t>& values) {
  return *std::max_element(values.begin(), values.end());
}

bool check_lengths(const BenchmarkConfig& config, int64_t max_seq_len, std::string* error) {
  const int64_t prompt = largest(config.prompt_lengths), context = largest(config.contexts);
  const int64_t needed = std::max(prompt, context + config.generate);
  if (needed <= max_seq_len) return true;
  *error = "prompt " + std::to_string(prompt) + " and " + std::to_string(config.generate) +
           " tokens at context " + std::to_string(context) + " need " + std::to_string(needed) +
           " positions, the program holds " + std::to_string(max_seq_len);
  return false;
}

int64_t greedy(const float* logits, const LanguageProgram& program, std::string* error) {
  if (logits == nullptr) return -1;
  const int64_t id = argmax(logits, program.vocab_size());
  if (id < 0) *error = "the program's logits are not numbers (NaN or infinite); its weights are broken";
  return id;
}

// Prefills every prompt from position 0, then decodes at every context, ascending. `tokens` has a token for
// each position below the largest prompt or context. Positions below a context that the cache lacks, from
// `*filled` on, are filled from `tokens` without timing; later runs find them filled.
bool run_once(LanguageProgram* program, const BenchmarkConfig& config, const std::vector<int64_t>& tokens,
              int64_t* filled, BenchmarkRun* run, std::string* error) {
  int64_t id = 0;
  for (const int64_t length : config.prompt_lengths) {
    const Stopwatch watch;
    id = greedy(program->prefill(tokens.data(), length, 0, error), *program, error);
    if (id < 0) return false;
    run->prefill_seconds.push_back(watch.seconds());
    *filled = std::max(*filled, length);
  }
  for (const int64_t context : config.contexts) {
    if (*filled < context &&
        program->prefill(tokens.data() + *filled, context - *filled, *filled, error) == nullptr) {
      return false;
    }
    std::vector<double> seconds;
    for (int64_t i = 0; i < config.generate; ++i) {
      const Stopwatch watch;
      id = greedy(program->decode(id, context + i, error), *program, error);
      if (id < 0) return false;
      seconds.push_back(watch.seconds());
    }
    *filled = std::max(*filled, context + config.generate);
    run->decode_seconds.push_back(std::move(seconds));
  }
  return true;
}

}  // namespace

bool benchmark(const BenchmarkConfig& config, executorch::runtime::EventTracer* tracer,
               BenchmarkResult* result, std::string* error) {
  result->config = config;
  BenchmarkConfig& used = result->config;
  if (used.contexts.empty()) used.contexts = {used.prompt_lengths[0]};
  std::sort(used.contexts.begin(), used.contexts.end());
  result->before_load = process_memory(config.model);
  LanguageProgram program;
  Stats stats;
  const Stopwatch watch;
  if (!load_timed(config.model, config.threads, tracer, &program, &stats, error)) return false;
  if (!config.widths.empty() && !program.set_widths(config.widths, error)) return false;
  result->config.widths = program.widths();
  result->load_seconds = watch.seconds();
  if (!check_lengths(used, program.max_seq_len(), error)) return false;

  const int64_t positions = std::max(largest(used.prompt_lengths), largest(used.contexts));
  const std::vector<int64_t> tokens = random_tokens(positions, program.vocab_size());
  const float* logits = program.prefill(tokens.data(), used.prompt_lengths[0], 0, error);
  if (greedy(logits, program, error) < 0) return false;
  result->first_token_seconds = watch.seconds();

  int64_t filled = used.prompt_lengths[0];
  for (int64_t i = 0; i < used.warmup + used.runs; ++i) {
    BenchmarkRun run;
    if (!run_once(&program, used, tokens, &filled, &run, error)) return false;
    if (i >= used.warmup) result->runs.push_back(std::move(run));
  }
  result->memory = process_memory(config.model);
  result->kernel = program.kernel();
  result->threads = thread_count();
  result->traced = tracer != nullptr;
  result->model_bytes = static_cast<int64_t>(program.file_bytes());
  result->planned_bytes = static_cast<int64_t>(program.planned_bytes());
  return true;
}

}  // namespace edge_runner
