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

bool check_prompt(const GenerateConfig& config, const LanguageProgram& program, std::string* error) {
  const auto count = static_cast<int64_t>(config.prompt.size());
  if (count == 0) {
    *error = "the prompt is empty; give it at least one token";
    return false;
  }
  if (config.position < 0 || count > program.max_seq_len() - config.position) {
    *error = "the prompt has " + std::to_string(count) + " tokens" +
             (config.position == 0 ? "" : " from position " + std::to_string(config.position) + " on") +
             ", the program holds " + std::to_string(program.max_seq_len());
    return false;
  }
  return true;
}

// Tells why to stop behind `id`, after which the KV cache holds `position` tokens.
End reason(const GenerateConfig& config, const LanguageProgram& program, int64_t id, int64_t generated,
           int64_t position, bool wanted) {
  if (!wanted) return End::kListener;
  if (is_end(config, program, id)) return End::kEndToken;
  if (generated >= config.max_new_tokens) return End::kLength;
  return position >= program.max_seq_len() ? End::kContext : End::kNone;
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
  if (!check_prompt(config, *program, error)) return false;
  stats->prompt_tokens = static_cast<int64_t>(config.prompt.size());
  int64_t position = config.position + stats->prompt_tokens;
  const int64_t vocab_size = program->vocab_size();
  Sampler sampler(config.sampling);
  stats->inference_start_ms = epoch_ms();
  const Stopwatch prefill_watch;
  const float* logits = program->prefill(config.prompt.data(), stats->prompt_tokens, config.position, error);
  stats->prompt_eval_end_ms = epoch_ms();
  if (config.max_new_tokens == 0) {
    stats->prefill_seconds = prefill_watch.seconds();
    stats->end = End::kLength;
    return logits != nullptr;
  }
  int64_t id = pick(&sampler, logits, vocab_size, stats, error);
  if (id < 0) return false;
  stats->prefill_seconds = prefill_watch.seconds();
  stats->first_token_ms = epoch_ms();

  const Stopwatch decode_watch;
  for (;;) {
    const bool wanted = on_token(id, logits, vocab_size);
    ++stats->generated_tokens;
    stats->end = reason(config, *program, id, stats->generated_tokens, position, wanted);
    if (stats->end != End::kNone) break;
    logits = program->decode(id, position++, error);
    if ((id = pick(&sampler, logits, vocab_size, stats, error)) < 0) return false;
  }
  stats->decode_seconds = decode_watch.seconds();
  stats->inference_end_ms = epoch_ms();
  return true;
}

}  // namespace edge_runner
