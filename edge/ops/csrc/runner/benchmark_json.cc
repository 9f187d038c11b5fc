#include <algorithm>
#include <functional>

#include "runner/benchmark.h"
#include "runner/json.h"

namespace edge_runner {
namespace {

// Returns the quantile by nearest rank: the smallest value that at least this share does not exceed.
double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double rank = share * static_cast<double>(values.size());
  size_t index = static_cast<size_t>(rank);
  if (static_cast<double>(index) == rank && index > 0) --index;
  return values[std::min(index, values.size() - 1)];
}

double sum(const std::vector<double>& values) {
  double total = 0;
  for (const double value : values) total += value;
  return total;
}

std::string per_run(const std::vector<BenchmarkRun>& runs,
                    const std::function<double(const BenchmarkRun&)>& value) {
  std::string list;
  for (const BenchmarkRun& run : runs) list += (list.empty() ? "" : ", ") + number(value(run));
  return "[" + list + "]";
}

std::string prefill_json(const BenchmarkResult& r) {
  JsonObject by_length;
  for (size_t i = 0; i < r.config.prompt_lengths.size(); ++i) {
    const int64_t length = r.config.prompt_lengths[i];
    by_length.add(std::to_string(length), per_run(r.runs, [=](const BenchmarkRun& run) {
                    return static_cast<double>(length) / run.prefill_seconds[i];
                  }));
  }
  return by_length.text();
}

std::string decode_json(const BenchmarkResult& r) {
  JsonObject by_context;
  for (size_t i = 0; i < r.config.contexts.size(); ++i) {
    JsonObject figures;
    figures.add("tokens_per_second", per_run(r.runs, [=](const BenchmarkRun& run) {
                  return static_cast<double>(run.decode_seconds[i].size()) / sum(run.decode_seconds[i]);
                }));
    for (const auto& [name, share] : {std::pair{"p50", 0.5}, std::pair{"p90", 0.9}}) {
      figures.add(std::string("ms_per_token_") + name,
                  per_run(r.runs, [i, p = share](const BenchmarkRun& run) {
                    return 1e3 * percentile(run.decode_seconds[i], p);
                  }));
    }
    by_context.add(std::to_string(r.config.contexts[i]), figures.text());
  }
  return by_context.text();
}

std::string memory_json(const BenchmarkResult& r) {
  JsonObject memory;
  memory.add("peak_resident_bytes", r.memory.peak_resident);
  memory.add("anonymous_bytes", r.memory.anonymous);
  memory.add("file_bytes", r.memory.file);
  memory.add("model_file_bytes", r.memory.model_file);
  memory.add("before_load_anonymous_bytes", r.before_load.anonymous);
  memory.add("before_load_file_bytes", r.before_load.file);
  memory.add("planned_bytes", r.planned_bytes);
  return memory.text();
}

}  // namespace

std::string to_json(const BenchmarkResult& r) {
  JsonObject json;
  json.add("model", quoted(r.config.model));
  json.add("model_bytes", r.model_bytes);
  json.add("kernel", quoted(r.kernel));
  json.add("threads", static_cast<int64_t>(r.threads));
  if (!r.config.widths.empty()) json.add("widths", integers(r.config.widths));
  json.add("traced", std::string(r.traced ? "true" : "false"));
  json.add("prompt_lengths", integers(r.config.prompt_lengths));
  json.add("contexts", integers(r.config.contexts));
  json.add("generate", r.config.generate);
  json.add("warmup_runs", r.config.warmup);
  json.add("runs", r.config.runs);
  json.add("load_ms", number(r.load_seconds * 1e3));
  json.add("time_to_first_token_ms", number(r.first_token_seconds * 1e3));
  json.add("prefill_tokens_per_second", prefill_json(r));
  json.add("decode", decode_json(r));
  json.add("memory", memory_json(r));
  return json.text();
}

}  // namespace edge_runner
