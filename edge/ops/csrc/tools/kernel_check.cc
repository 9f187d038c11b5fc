// lowbit_kernel_check: holds every kernel of this build that the CPU can run to the scalar kernel, bit for
// bit, on random and extreme inputs, and says which one this CPU gets. Exit code 1 and the circumstances at
// the first difference, 2 when EDGE_FORCE_KERNEL names one that cannot run.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "core/dispatch.h"
#include "tools/checks.h"

namespace edge {

bool Tally::same_bytes(const Kernel& kernel, const std::string& what, const void* want, const void* got,
                       size_t size) {
  const auto* a = static_cast<const uint8_t*>(want);
  const auto* b = static_cast<const uint8_t*>(got);
  for (size_t i = 0; i < size; ++i) {
    if (a[i] == b[i]) continue;
    std::printf("%s: %s: byte %zu is %d, the scalar kernel has %d\n", kernel.name, what.c_str(), i, b[i],
                a[i]);
    return false;
  }
  compared_ += static_cast<long long>(size);
  return true;
}

bool Tally::same(const Kernel& kernel, const std::string& what, const std::vector<float>& want,
                 const std::vector<float>& got) {
  for (size_t i = 0; i < want.size(); ++i) {
    // Which payload a NaN carries is not defined; that it is one is.
    if (want[i] != want[i] && got[i] != got[i]) continue;
    if (std::memcmp(&want[i], &got[i], sizeof(float)) == 0) continue;
    std::printf("%s: %s: value %zu is %.9g (%a), the scalar kernel has %.9g (%a)\n", kernel.name,
                what.c_str(), i, got[i], got[i], want[i], want[i]);
    return false;
  }
  compared_ += static_cast<long long>(want.size());
  return true;
}

ParallelFor serial() {
  return {
      [](void*, int64_t count, int64_t, ParallelFor::Body body, void* context) { body(context, 0, count); },
      nullptr};
}

namespace {

struct Options {
  uint64_t seed = 1;
  int64_t rounds = 20;
};

bool parse(int argc, char** argv, Options* options) {
  for (int i = 1; i < argc; i += 2) {
    char* end = nullptr;
    const long long value = i + 1 < argc ? std::strtoll(argv[i + 1], &end, 10) : -1;
    if (end == nullptr || *end != '\0' || end == argv[i + 1] || value < 0) return false;
    if (std::strcmp(argv[i], "--seed") == 0) {
      options->seed = static_cast<uint64_t>(value);
    } else if (std::strcmp(argv[i], "--rounds") == 0) {
      options->rounds = value;
    } else {
      return false;
    }
  }
  return true;
}

bool check_kernel(const Kernel& kernel, const Options& options) {
  Random random(options.seed);
  Tally tally;
  bool same = check_linear_extremes(kernel, &random, &tally);
  for (int64_t round = 0; same && round < options.rounds; ++round) {
    same = check_linear(kernel, &random, &tally) && check_floats(kernel, &random, &tally) &&
           check_attention(kernel, &random, &tally);
  }
  if (same) {
    std::printf("%s: %lld values equal the scalar kernel's\n", kernel.name, tally.compared());
  } else {
    std::printf("%s: differs, with --seed %llu\n", kernel.name,
                static_cast<unsigned long long>(options.seed));
  }
  std::fflush(stdout);
  return same;
}

int check_all(const Options& options) {
  Error refusal;
  const Kernel* const selected = selected_kernel(&refusal);
  if (selected == nullptr) {
    std::fprintf(stderr, "%s\n", refusal.message);
    return 2;
  }
  std::printf("selected: %s\n", selected->name);
  std::stringstream names(kernel_names());
  int status = 0;
  for (std::string name; std::getline(names, name, ',');) {
    if (name == kScalar.name) continue;
    Error error;
    const Kernel* const kernel = find_kernel(name.c_str(), &error);
    if (kernel == nullptr) {
      std::printf("%s: skipped, this CPU lacks its instructions\n", name.c_str());
    } else if (!check_kernel(*kernel, options)) {
      status = 1;
    }
  }
  return status;
}

}  // namespace
}  // namespace edge

int main(int argc, char** argv) {
  edge::Options options;
  if (!edge::parse(argc, argv, &options)) {
    std::fprintf(stderr, "usage: %s [--seed N] [--rounds N]\n", argv[0]);
    return 2;
  }
  return edge::check_all(options);
}
