// lowbit_kernel_check compares every kernel that this CPU can run with the scalar kernel, bit for bit, on
// random and extreme inputs, and prints which one programs get here. It exits with 1 after printing the first
// difference, and with 2 when EDGE_FORCE_KERNEL names a kernel that cannot run.
#include <cinttypes>
#include <cmath>
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
    add(a[i]);
    if (a[i] == b[i]) continue;
    std::printf("%s: %s: byte %zu is %d, the scalar kernel has %d\n", kernel.name, what.c_str(), i, b[i],
                a[i]);
    return false;
  }
  return true;
}

bool Tally::same(const Kernel& kernel, const std::string& what, const std::vector<float>& want,
                 const std::vector<float>& got) {
  for (size_t i = 0; i < want.size(); ++i) {
    uint32_t a, b;
    std::memcpy(&a, &want[i], sizeof(a));
    std::memcpy(&b, &got[i], sizeof(b));
    const bool both_nan = std::isnan(want[i]) && std::isnan(got[i]);  // their payloads are not defined
    add(both_nan ? 0x7fc00000u : a);
    if (both_nan || a == b) continue;
    std::printf("%s: %s: value %zu is %.9g (%a), the scalar kernel has %.9g (%a)\n", kernel.name,
                what.c_str(), i, got[i], got[i], want[i], want[i]);
    return false;
  }
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
    std::printf("%s: %lld values equal the scalar kernel's, digest %016" PRIx64 "\n", kernel.name,
                tally.compared(), tally.digest());
  } else {
    std::printf("%s: differs, with --seed %" PRIu64 "\n", kernel.name, options.seed);
  }
  std::fflush(stdout);
  return same;
}

bool check_slices(const Options& options) {
  Random random(options.seed);
  Tally tally;
  for (int64_t round = 0; round < options.rounds; ++round) {
    if (!check_elastic(&random, &tally)) return false;
  }
  std::printf("slices: %lld values are right, digest %016" PRIx64 "\n", tally.compared(), tally.digest());
  return true;
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
  int status = check_slices(options) ? 0 : 1;
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
