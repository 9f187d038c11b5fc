#include "runner/command_line.h"

#include <cinttypes>
#include <cstdio>

#include "runner/benchmark.h"
#include "runner/generate.h"
#include "runner/options.h"
#include "runner/output_file.h"
#include "runner/trace.h"

namespace edge_runner {
namespace {

using executorch::runtime::EventTracer;

bool run_benchmark(const Options& options, EventTracer* tracer, std::string* error) {
  BenchmarkConfig config = options.benchmark;
  config.model = options.model;
  config.threads = options.threads;
  config.widths = options.widths;
  BenchmarkResult result;
  if (!benchmark(config, tracer, &result, error)) return false;
  std::printf("%s\n", to_json(result).c_str());
  return true;
}

bool run_generation(const Options& options, EventTracer* tracer, std::string* error) {
  OutputFile logits_file;
  const bool with_logits = !options.logits.empty();
  if (with_logits && !logits_file.open(options.logits)) {
    *error = "cannot write '" + options.logits + "'";
    return false;
  }
  bool first = true, written = true;
  const auto on_token = [&](int64_t id, const float* logits, int64_t vocab_size) {
    std::printf(first ? "%" PRId64 : ",%" PRId64, id);
    std::fflush(stdout);
    first = false;
    written = !with_logits || logits_file.write(logits, static_cast<size_t>(vocab_size) * sizeof(float));
    return written;
  };
  LanguageProgram program;
  Stats stats;
  bool ok = load_timed(options.model, options.threads, tracer, &program, &stats, error) &&
            (options.widths.empty() || program.set_widths(options.widths, error)) &&
            generate(&program, options.generate, on_token, &stats, error);
  if (!first) std::printf("\n");
  if (with_logits && (!written || (ok && !logits_file.keep()))) {
    ok = false;
    *error = "cannot write '" + options.logits + "': is the disk full?";
  }
  if (ok) std::fprintf(stderr, "%s\n", stats_line(stats).c_str());
  return ok;
}

bool run(const Options& options, std::string* error) {
  const NamedPath model{"--model", options.model};
  if (!check_outputs(model, {{"--logits", options.logits}, {"--etdump", options.etdump}}, error))
    return false;
  std::unique_ptr<EventTracer> tracer;
  if (!options.etdump.empty() && (tracer = make_tracer(error)) == nullptr) return false;
  const bool ok = options.benchmark_mode ? run_benchmark(options, tracer.get(), error)
                                         : run_generation(options, tracer.get(), error);
  return ok && (tracer == nullptr || write_trace(tracer.get(), options.etdump, error));
}

}  // namespace
}  // namespace edge_runner

int lowbit_runner_main(int argc, char** argv) {
  edge_runner::Options options;
  std::string error;
  if (!edge_runner::parse_options(argc, argv, &options, &error)) {
    std::fprintf(stderr, "lowbit_runner: %s\n", error.c_str());
    return 2;
  }
  if (options.help) {
    std::fputs(edge_runner::kUsage, stdout);
    return 0;
  }
  if (!edge_runner::run(options, &error)) {
    std::fprintf(stderr, "lowbit_runner: %s\n", error.c_str());
    return 2;
  }
  return 0;
}
