#include "runner/generate.h"

#include <algorithm>

#include "runner/runtime_log.h"
#include "runner/threads.h"

namespace edge_runner {
namespace {

bool is_end(const GenerateConfig& config, const LanguageProgram& program, int64_t id) {
  if (config.eos.has_value()) return id == *config.eos;
  const auto& ids = program.eos_ids();
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

// Returns an id, or -1 with a sentence. Null logits are a failure that has its sentence already.
int64_t pick(Sampler* sampler, const float* logits, int64_t vocab_size, Stats* stats, std::string* error) {
  if (logits == nullptr) return -1;
  const Stopwatch watch;
  const int64_t id = sampler->sample(logits, vocab_size);
  stats->sampling_seconds += watch.seconds();
  if (id < 0) *error = "the program's logits are not numbers (NaN or infinite); its weights are broken";
  return id;
}

}  // namespace

bool load_timed(const std::string& path, int threads, executorch::runtime::EventTracer* tracer,
                LanguageProgram* program, Stats* stats, std::string* error) {
  keep_runtime_log();  // first, because the pool logs when it starts
  stats->model_load_start_ms = epoch_ms();
  if (threads > 0 && !set_threads(threads)) {
    *error = "cannot set " + std::to_string(threads) + " threads";
    return false;
  }
  if (!program->load(path, tracer, error)) return false;
  stats->model_load_end_ms = epoch_ms();
  return true;
}

bool generate(LanguageProgram* program, const GenerateConfig& config, const OnToken& on_token, Stats* stats,
              std::string* error) {
  int64_t position = stats->prompt_tokens = static_cast<int64_t>(config.prompt.size());
  if (position > program->max_seq_len()) {
    *error = "the prompt has " + std::to_string(position) + " tokens, the program holds " +
             std::to_string(program->max_seq_len());
    return false;
  }
  const int64_t vocab_size = program->vocab_size();
  Sampler sampler(config.sampling);
  stats->inference_start_ms = epoch_ms();
  const Stopwatch prefill_watch;
  const float* logits = program->prefill(config.prompt.data(), position, 0, error);
  stats->prompt_eval_end_ms = epoch_ms();
  int64_t id = pick(&sampler, logits, vocab_size, stats, error);
  if (id < 0) return false;
  stats->prefill_seconds = prefill_watch.seconds();
  stats->first_token_ms = epoch_ms();

  const Stopwatch decode_watch;
  for (;;) {
    const bool wanted = on_token(id, logits, vocab_size);
    ++stats->generated_tokens;
    if (!wanted || is_end(config, *program, id) || stats->generated_tokens >= config.max_new_tokens ||
        position >= program->max_seq_len()) {
      break;
    }
    logits = program->decode(id, position++, error);
    if ((id = pick(&sampler, logits, vocab_size, stats, error)) < 0) return false;
  }
  stats->decode_seconds = decode_watch.seconds();
  stats->inference_end_ms = epoch_ms();
  return true;
}

}  // namespace edge_runner
