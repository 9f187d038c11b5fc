#include "runner/options.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <functional>

namespace edge_runner {
namespace {

enum class Mode { kBoth, kGenerate, kBenchmark };

struct Flag {
  std::string name;
  Mode mode;
  std::function<bool(const std::string& value)>
      set;  // returns false if the value is not what `takes` describes
  std::string takes;
};

bool parse_integer(const std::string& text, int64_t low, int64_t high, int64_t* value) {
  char* end = nullptr;
  errno = 0;
  const long long parsed = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || errno == ERANGE || parsed < low || parsed > high) return false;
  *value = parsed;
  return true;
}

bool parse_integers(const std::string& text, int64_t low, std::vector<int64_t>* values) {
  values->clear();
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    int64_t value;
    if (!parse_integer(text.substr(begin, comma - begin), low, INT32_MAX, &value)) return false;
    values->push_back(value);
    begin = comma + 1;
  }
  return true;
}

template <class Integer>
Flag integer(const char* name, Mode mode, int64_t low, int64_t high, Integer* target) {
  const auto set = [=](const std::string& text) {
    int64_t value = 0;
    if (!parse_integer(text, low, high, &value)) return false;
    *target = static_cast<Integer>(value);
    return true;
  };
  return {name, mode, set, "an integer from " + std::to_string(low) + " to " + std::to_string(high) + ","};
}

Flag lengths(const char* name, std::vector<int64_t>* target) {
  const auto set = [=](const std::string& text) {
    if (!parse_integers(text, 1, target)) return false;
    std::vector<int64_t> sorted = *target;
    std::sort(sorted.begin(), sorted.end());
    return std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end();
  };
  return {name, Mode::kBenchmark, set, "positive integers, each once, separated by commas;"};
}

Flag number(const char* name, Mode mode, int high, double* target) {
  const auto set = [=](const std::string& text) {
    char* end = nullptr;
    *target = std::strtod(text.c_str(), &end);
    return !text.empty() && *end == '\0' && *target >= 0 && *target <= high;  // false for NaN
  };
  return {name, mode, set, "a number from 0 to " + std::to_string(high) + ","};
}

Flag text(const char* name, Mode mode, std::string* target) {
  const auto set = [=](const std::string& value) {
    *target = value;
    return !value.empty();
  };
  return {name, mode, set, "a path,"};
}

std::vector<Flag> flags_of(Options* o) {
  const auto set_tokens = [o](const std::string& value) {
    return parse_integers(value, 0, &o->generate.prompt);
  };
  SamplingConfig& sampling = o->generate.sampling;
  BenchmarkConfig& benchmark = o->benchmark;
  return {
      text("--model", Mode::kBoth, &o->model),
      {"--width", Mode::kBoth, [o](const std::string& value) { return parse_integers(value, 2, &o->widths); },
       "one number of bits, or one for each layer with commas;"},
      integer("--threads", Mode::kBoth, 1, 256, &o->threads),
      text("--etdump", Mode::kBoth, &o->etdump),
      {"--tokens", Mode::kGenerate, set_tokens, "token ids separated by commas, such as 1,15,7;"},
      integer("--max-new-tokens", Mode::kGenerate, 1, INT32_MAX, &o->generate.max_new_tokens),
      integer("--eos", Mode::kGenerate, 0, INT32_MAX, &o->generate.eos),
      text("--logits", Mode::kGenerate, &o->logits),
      number("--temperature", Mode::kGenerate, 100, &sampling.temperature),
      integer("--top-k", Mode::kGenerate, 0, INT32_MAX, &sampling.top_k),
      number("--top-p", Mode::kGenerate, 1, &sampling.top_p),
      integer("--seed", Mode::kGenerate, 0, INT64_MAX, &sampling.seed),
      lengths("--prompt-length", &benchmark.prompt_lengths),
      lengths("--context", &benchmark.contexts),
      integer("--generate", Mode::kBenchmark, 1, INT32_MAX, &benchmark.generate),
      integer("--warmup", Mode::kBenchmark, 0, 1000, &benchmark.warmup),
      integer("--runs", Mode::kBenchmark, 1, 1000, &benchmark.runs),
  };
}

// Checks flags that depend on each other.
bool check_together(const Options& options, const std::vector<const Flag*>& given, std::string* error) {
  for (const Flag* flag : given) {
    if (flag->mode == (options.benchmark_mode ? Mode::kGenerate : Mode::kBenchmark)) {
      *error = flag->name + (options.benchmark_mode ? " cannot go with --benchmark" : " needs --benchmark") +
               "; see --help";
      return false;
    }
    const bool drawing = flag->name == "--top-k" || flag->name == "--top-p" || flag->name == "--seed";
    if (drawing && options.generate.sampling.temperature == 0) {
      *error = flag->name + " needs a --temperature above 0; without one the likeliest token is taken";
      return false;
    }
  }
  if (options.benchmark_mode ? options.model.empty()
                             : options.model.empty() || options.generate.prompt.empty()) {
    *error = options.benchmark_mode ? "--benchmark needs --model; see --help"
                                    : "--model and --tokens are required; see --help";
    return false;
  }
  return true;
}

}  // namespace

bool parse_options(int argc, char** argv, Options* options, std::string* error) {
  const std::vector<Flag> flags = flags_of(options);
  std::vector<const Flag*> given;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--help" || name == "-h") {
      options->help = true;
      return true;
    }
    if (name == "--benchmark") {
      options->benchmark_mode = true;
      continue;
    }
    const auto flag = std::find_if(flags.begin(), flags.end(), [&](const Flag& f) { return f.name == name; });
    if (flag == flags.end()) {
      *error = "unknown argument '" + name + "'; see --help";
      return false;
    }
    if (++i == argc) {
      *error = name + " needs a value; see --help";
      return false;
    }
    if (!flag->set(argv[i])) {
      *error = name + " must be " + flag->takes + " not '" + argv[i] + "'";
      return false;
    }
    given.push_back(&*flag);
  }
  return check_together(*options, given, error);
}

}  // namespace edge_runner
