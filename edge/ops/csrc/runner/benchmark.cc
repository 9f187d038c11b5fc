#include "benchmark.h"

#include <algorithm>

#include "generate.h"
#include "random.h"
#include "threads.h"

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

bool check_lengths(const BenchmarkConfig& config, int64_t max_seq_len, std::string* error) {
  const int64_t needed = std::max(config.prompt_length, config.context + config.generate);
  if (needed <= max_seq_len) return true;
  *error = "prompt " + std::to_string(config.prompt_length) + " and " + std::to_string(config.generate) +
           " tokens at context " + std::to_string(config.context) + " need " + std::to_string(needed) +
           " positions, the program holds " + std::to_string(max_seq_len);
  return false;
}

int64_t greedy(const float* logits, const LanguageProgram& program, std::string* error) {
  if (logits == nullptr) return -1;
  const int64_t id = argmax(logits, program.vocab_size());
  if (id < 0) *error = "the program's logits are not numbers (NaN or infinite); its weights are broken";
  return id;
}

// Prefills the prompt at 0, then decodes from the context on. What lies between, `filler`, does not
// change the time, so the first run alone computes it.
bool run_once(LanguageProgram* program, const BenchmarkConfig& config, const std::vector<int64_t>& prompt,
              const std::vector<int64_t>& filler, BenchmarkRun* run, std::string* error) {
  const Stopwatch prefill_watch;
  const float* logits = program->prefill(prompt.data(), config.prompt_length, 0, error);
  int64_t id = greedy(logits, *program, error);
  run->prefill_seconds = prefill_watch.seconds();
  if (id < 0) return false;
  if (!filler.empty() && program->prefill(filler.data(), static_cast<int64_t>(filler.size()),
                                          config.prompt_length, error) == nullptr) {
    return false;
  }
  for (int64_t i = 0; i < config.generate; ++i) {
    const Stopwatch watch;
    id = greedy(program->decode(id, config.context + i, error), *program, error);
    if (id < 0) return false;
    run->decode_seconds.push_back(watch.seconds());
  }
  return true;
}

}  // namespace

bool benchmark(const BenchmarkConfig& config, executorch::runtime::EventTracer* tracer,
               BenchmarkResult* result, std::string* error) {
  result->config = config;
  BenchmarkConfig& used = result->config;
  if (used.context == 0) used.context = used.prompt_length;
  result->before_load = process_memory(config.model);
  LanguageProgram program;
  Stats stats;
  const Stopwatch watch;
  if (!load_timed(config.model, config.threads, tracer, &program, &stats, error)) return false;
  result->load_seconds = watch.seconds();
  if (!check_lengths(used, program.max_seq_len(), error)) return false;

  const auto prompt = random_tokens(used.prompt_length, program.vocab_size());
  const float* logits = program.prefill(prompt.data(), used.prompt_length, 0, error);
  if (greedy(logits, program, error) < 0) return false;
  result->first_token_seconds = watch.seconds();

  auto filler = random_tokens(std::max<int64_t>(0, used.context - used.prompt_length), program.vocab_size());
  for (int64_t i = 0; i < used.warmup + used.runs; ++i) {
    BenchmarkRun run;
    if (!run_once(&program, used, prompt, filler, &run, error)) return false;
    filler.clear();  // its rows stay in the cache
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
