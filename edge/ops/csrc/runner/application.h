// What an application with a language of its own calls: one program in a session, answers as JSON.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "runner/benchmark.h"
#include "runner/generate.h"

namespace edge_runner {

// A loaded program, used by one thread at a time. All sessions share the thread pool, so none may run while
// another opens. Methods that return false write one sentence into `error`.
class Session {
 public:
  bool open(const std::string& path, int threads, std::string* error);  // threads 0: ExecuTorch's choice

  // {kernel, file_bytes, planned_bytes, vocab_size, max_seq_len, eos_ids, widths}: widths are the bits of
  // each layer of an elastic program, and none of others.
  std::string describe() const;

  // Sets the bits of an elastic program, one number or one for each layer; also from `wanted`, that is
  // between tokens. Refused while the program runs.
  bool set_widths(const std::vector<int64_t>& bits, std::string* error);

  // Calls `wanted` with every new id until it returns false or the generation ends. Writes {prompt_tokens,
  // generated_tokens, prefill_seconds, decode_seconds, sampling_seconds, end}, end being "end", "length",
  // "context" or "listener".
  bool generate(const GenerateConfig& config, const std::function<bool(int64_t id)>& wanted,
                std::string* json, std::string* error);

 private:
  LanguageProgram program_;
};

// Runs the benchmark; `json` is what `lowbit_runner --benchmark` prints.
bool run_benchmark(BenchmarkConfig config, std::string* json, std::string* error);

// {resident_bytes, peak_bytes} of this process.
std::string memory_json();

}  // namespace edge_runner
