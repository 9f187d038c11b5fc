#include "options.h"

#include <cerrno>
#include <cstdlib>

namespace edge_runner {

const char* const kUsage =
    "usage: lowbit_runner --model FILE.pte --tokens 1,2,3 [--max-new-tokens N] [--threads N] [--eos ID]\n"
    "                     [--logits FILE]\n"
    "Continues the prompt greedily. Prints the new token ids to stdout, separated by commas, the end\n"
    "token included, and a line of statistics (PyTorchObserver {json}) to stderr.\n"
    "--logits writes the logits behind every new token, float32 [tokens, vocabulary].\n";

namespace {

bool parse_integer(const std::string& text, int64_t low, int64_t high, int64_t* value) {
  char* end = nullptr;
  errno = 0;
  const long long parsed = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || errno == ERANGE || parsed < low || parsed > high) return false;
  *value = parsed;
  return true;
}

bool parse_tokens(const std::string& text, std::vector<int64_t>* tokens) {
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    int64_t id;
    if (!parse_integer(text.substr(begin, comma - begin), 0, INT32_MAX, &id)) return false;
    tokens->push_back(id);
    begin = comma + 1;
  }
  return true;
}

bool parse_flag(const std::string& flag, const std::string& value, Options* options, std::string* error) {
  int64_t number = 0;
  const auto integer = [&](int64_t low, int64_t high) {
    if (parse_integer(value, low, high, &number)) return true;
    *error = flag + " must be an integer from " + std::to_string(low) + " to " + std::to_string(high) +
             ", not '" + value + "'";
    return false;
  };
  if (flag == "--model") {
    options->model = value;
  } else if (flag == "--tokens") {
    if (!parse_tokens(value, &options->tokens)) {
      *error = "--tokens must be token ids separated by commas, such as 1,15,7; not '" + value + "'";
      return false;
    }
  } else if (flag == "--max-new-tokens") {
    if (!integer(1, INT32_MAX)) return false;
    options->max_new_tokens = number;
  } else if (flag == "--threads") {
    if (!integer(1, 256)) return false;
    options->threads = static_cast<int>(number);
  } else if (flag == "--eos") {
    if (!integer(0, INT32_MAX)) return false;
    options->eos = number;
  } else if (flag == "--logits") {
    options->logits = value;
  } else {
    *error = "unknown argument '" + flag + "'; see --help";
    return false;
  }
  return true;
}

}  // namespace

bool parse_options(int argc, char** argv, Options* options, std::string* error) {
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--help" || flag == "-h") {
      options->help = true;
      return true;
    }
    if (flag.rfind("--", 0) == 0 && i + 1 == argc) {
      *error = flag + " needs a value; see --help";
      return false;
    }
    if (!parse_flag(flag, i + 1 < argc ? argv[i + 1] : "", options, error)) return false;
  }
  if (options->model.empty() || options->tokens.empty()) {
    *error = "--model and --tokens are required; see --help";
    return false;
  }
  return true;
}

}  // namespace edge_runner
