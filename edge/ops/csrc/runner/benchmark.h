// Benchmark mode: measures one program in a fresh process. Loading is cheap, so programs that are compared
// take turns, one process each.
#pragma once

#include <executorch/runtime/core/event_tracer.h>

#include <cstdint>
#include <string>
#include <vector>

#include "runner/process_memory.h"

namespace edge_runner {

struct BenchmarkConfig {
  std::string model;
  std::vector<int64_t> prompt_lengths = {128};
  std::vector<int64_t> contexts;  // positions of the first decoded token; empty: the first prompt's length
  int64_t generate = 64;          // tokens timed at each context
  int64_t warmup = 1;             // untimed runs
  int64_t runs = 3;
  int threads = 0;              // 0: ExecuTorch's own choice
  std::vector<int64_t> widths;  // of an elastic program, see LanguageProgram::set_widths; empty: its widest
};

struct BenchmarkRun {
  std::vector<double> prefill_seconds;              // of each prompt
  std::vector<std::vector<double>> decode_seconds;  // at each context, of each token and its greedy choice
};

struct BenchmarkResult {
  BenchmarkConfig config;  // with the contexts and widths that were used
  std::string kernel;
  int threads = 0;
  bool traced = false;
  double load_seconds = 0, first_token_seconds = 0;  // both from the start of loading
  std::vector<BenchmarkRun> runs;
  int64_t model_bytes = 0, planned_bytes = 0;
  ProcessMemory before_load, memory;
};

// Runs the benchmark. `tracer` may be null. Returns false with a sentence if the program cannot be used or is
// too short for a context.
bool benchmark(const BenchmarkConfig& config, executorch::runtime::EventTracer* tracer,
               BenchmarkResult* result, std::string* error);

// Returns one JSON object without line breaks; --help documents it.
std::string to_json(const BenchmarkResult& result);

}  // namespace edge_runner
