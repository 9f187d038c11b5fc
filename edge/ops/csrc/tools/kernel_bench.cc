// lowbit_kernel_bench: packed bytes per second of every kernel's decode loop against a pure read loop
// over the same bytes, at working sets that fit L2, L3 and only memory.
//
// Every result is compared with the scalar kernel's before it is timed. The kernels and the read loop
// take turns within a round, so that a change of the machine's speed affects all of them; medians over
// rounds are printed.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "core/dispatch.h"
#include "core/layout.h"
#include "core/linear.h"
#include "tools/layer_bench.h"
#include "tools/median.h"
#include "tools/read_bandwidth.h"

namespace {

using edge::Kernel;
using edge::median;
using edge::PackedView;
using edge::read_all;

const char* const kUsage =
    "usage: lowbit_kernel_bench [--columns K] [--sets KIB,KIB,...] [--rounds N] [--tokens T] [--group-size "
    "G]\n"
    "       lowbit_kernel_bench --read FILE [--threads N]\n"
    "GB/s of packed weights in the decode loop, one thread, as a share of a pure read loop over the same\n"
    "bytes; with --tokens above 1, GOPS (2 per weight and token) of the prefill loop instead.\n"
    "--columns  columns of the table (default 1536)     --rounds  timed rounds (default 9)\n"
    "--sets     working sets; default half of L2, three quarters of L3, and 8 times L3\n"
    "--group-size  columns that share a scale: 32, 64, 128 or 256 (default: one scale per row); a table of "
    "the\n"
    "           same size with one scale per row takes turns with it, and a column says how much longer a\n"
    "           weight takes with groups\n"
    "--read     seconds of a pure read of the file's bytes, mapped and already in memory, each thread its\n"
    "           share: the best of 6 passes\n";

struct Options {
  int64_t columns = 1536, rounds = 9, tokens = 1, group_size = 0;
  std::vector<int64_t> set_bytes;
};

uint32_t next_random(uint64_t* state) {  // Knuth's MMIX generator, upper bits
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<uint32_t>(*state >> 33);
}

// A table of random bytes that fills about `bytes`: to the kernels any byte holds codes.
std::vector<uint8_t> random_table(const edge::TableForm& form, int64_t columns, int64_t bytes,
                                  int64_t* rows) {
  const edge::PackedHeader one = edge::expected_header(edge::kBlockRows, columns, form);
  const auto block = static_cast<int64_t>(one.total_bytes - one.codes_offset);
  *rows = std::max<int64_t>(1, bytes / block) * edge::kBlockRows;
  const edge::PackedHeader header = edge::expected_header(*rows, columns, form);
  std::vector<uint8_t> table(header.total_bytes);
  uint64_t state = 1;
  const bool may_be_nan = form.group_columns != 0 || !form.encoding->is_quantized();
  for (uint64_t i = header.codes_offset; i + 4 <= header.total_bytes; i += 4) {
    // Halves lose their sign and top exponent bit: positive numbers below 2, no NaN.
    const uint32_t word = next_random(&state) & (may_be_nan ? 0x3fff3fffu : 0xffffffffu);
    std::memcpy(table.data() + i, &word, sizeof(word));
  }
  const float scale = form.encoding->is_quantized() ? 0.5f : 1.0f;
  for (int64_t row = 0; row < *rows && form.group_columns == 0; ++row) {
    std::memcpy(table.data() + sizeof(header) + row * 4, &scale, 4);
  }
  std::memcpy(table.data(), &header, sizeof(header));
  return table;
}

// The encoding with one scale a row, or one for each group of columns.
edge::TableForm form_of(const edge::EncodingTraits& encoding, int64_t group_columns) {
  const float middle = encoding.codes == 256 ? 128.0f : static_cast<float>(encoding.largest_code()) / 2;
  return {&encoding, group_columns,
          group_columns == 0 ? edge::ScaleType::kFloat32 : edge::ScaleType::kFloat16, false,
          encoding.is_quantized() ? middle : 0.0f};
}

template <class Function>
double seconds(int64_t repetitions, Function&& function) {
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < repetitions; ++i) function();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void run_here(void*, int64_t count, int64_t, edge::ParallelFor::Body body, void* context) {
  body(context, 0, count);
}

// A random table with activations for it.
struct Case {
  std::vector<uint8_t> table, scratch;
  PackedView view;
  std::vector<float> x, y;
  int64_t rows, tokens, repetitions;

  // Exits with a message where the shape is refused.
  Case(const edge::TableForm& form, int64_t set_bytes, const Options& options) : tokens(options.tokens) {
    table = random_table(form, options.columns, set_bytes, &rows);
    edge::Error error;
    int64_t scratch_bytes = 0;
    if (!edge::open_packed(table.data(), static_cast<int64_t>(table.size()), rows, options.columns, &view,
                           &error) ||
        !edge::linear_scratch(tokens, view, {}, &scratch_bytes, &error)) {
      std::fprintf(stderr, "lowbit_kernel_bench: %s\n", error.message);
      std::exit(1);
    }
    uint64_t state = 2;
    for (int64_t i = 0; i < tokens * options.columns; ++i) {
      x.push_back(static_cast<float>(next_random(&state)) * 0x1p-31f - 0.5f);
    }
    y.resize(static_cast<size_t>(tokens * rows));
    scratch.resize(static_cast<size_t>(scratch_bytes));
    repetitions = std::max<int64_t>(1, (int64_t{64} << 20) / (view.codes_bytes() * tokens));
  }

  void run(const Kernel& kernel) {
    const edge::ParallelFor serial{run_here, nullptr};
    edge::linear(x.data(), tokens, view, {}, kernel, serial, scratch.data(), y.data());
  }
  // After an untimed run, because another table may have taken this one's place in the caches.
  double seconds_of(const Kernel& kernel) {
    run(kernel);
    return seconds(repetitions, [&] { run(kernel); }) / static_cast<double>(repetitions);
  }
  double weights() const { return static_cast<double>(rows * view.k); }
};

// Returns the kernels that this CPU runs and that read the encoding without repacking; the last is scalar.
std::vector<const Kernel*> kernels_for(const edge::EncodingTraits& encoding) {
  std::vector<const Kernel*> kernels;
  const std::string names = edge::kernel_names();
  for (size_t begin = 0; begin < names.size();) {
    const size_t end = std::min(names.find(',', begin), names.size());
    edge::Error error;
    const Kernel* kernel = edge::find_kernel(names.substr(begin, end - begin).c_str(), &error);
    const bool takes = kernel != nullptr && (encoding.id != edge::Encoding::kBase3 || kernel->runs_base3);
    if (takes) kernels.push_back(kernel);
    begin = end + 1;
  }
  return kernels;
}

// Compares the kernels with the scalar one. False, with a message, when one is wrong.
bool all_equal(Case& run, const std::vector<const Kernel*>& kernels, const char* encoding) {
  run.run(*kernels.back());
  const std::vector<float> expected = run.y;
  for (const Kernel* kernel : kernels) {
    run.run(*kernel);
    if (std::memcmp(run.y.data(), expected.data(), expected.size() * sizeof(float)) != 0) {
      std::fprintf(stderr, "lowbit_kernel_bench: kernel %s differs from scalar at %s; nothing was timed\n",
                   kernel->name, encoding);
      return false;
    }
  }
  return true;
}

// What one kernel did, a value a round.
struct Rates {
  std::vector<double> rate, longer;  // GB/s or GOPS; time of a weight over that with one scale per row
};

// One line of the table: all kernels on one encoding and working set. False when a kernel is wrong.
bool measure(const edge::EncodingTraits& encoding, int64_t set_bytes, const Options& options) {
  Case run(form_of(encoding, options.group_size), set_bytes, options);
  std::optional<Case> rowwise;
  if (options.group_size != 0) rowwise.emplace(form_of(encoding, 0), set_bytes, options);

  std::vector<const Kernel*> kernels = kernels_for(encoding);
  if (!all_equal(run, kernels, encoding.name)) return false;
  if (kernels.size() > 1) kernels.pop_back();  // scalar is the reference; timed only if alone

  const int64_t bytes = run.view.codes_bytes();
  const double work = options.tokens == 1 ? static_cast<double>(bytes)
                                          : 2.0 * run.weights() * static_cast<double>(options.tokens);
  std::vector<Rates> results(kernels.size());
  std::vector<double> plain, ahead;
  volatile uint64_t sink = 0;
  for (int64_t round = 0; round <= options.rounds; ++round) {  // round 0 warms up
    const auto read = [&](int64_t distance) {
      return work * static_cast<double>(run.repetitions) /
             seconds(run.repetitions, [&] { sink = sink ^ read_all(run.view.codes, bytes, distance); }) / 1e9;
    };
    const double plain_rate = read(0), ahead_rate = read(4096);
    if (round > 0) plain.push_back(plain_rate), ahead.push_back(ahead_rate);
    for (size_t i = 0; i < kernels.size(); ++i) {
      const double time = run.seconds_of(*kernels[i]);
      const double other = rowwise ? rowwise->seconds_of(*kernels[i]) / rowwise->weights() : 0;
      if (round == 0) continue;
      results[i].rate.push_back(work / time / 1e9);
      if (rowwise) results[i].longer.push_back(time / run.weights() / other);
    }
  }
  const double best_read = std::max(median(plain), median(ahead));
  for (size_t i = 0; i < kernels.size(); ++i) {
    const std::vector<double>& rate = results[i].rate;
    const auto [least, most] = std::minmax_element(rate.begin(), rate.end());
    std::printf("| %s | %lld | %s | %.1f (%.1f-%.1f) |", encoding.name, static_cast<long long>(bytes >> 10),
                kernels[i]->name, median(rate), *least, *most);
    if (options.tokens == 1) std::printf(" %.1f | %.2f |", best_read, median(rate) / best_read);
    if (rowwise) std::printf(" %.2f |", median(results[i].longer));
    std::printf("\n");
  }
  std::fflush(stdout);
  return true;
}

template <class Value>
bool read_line(const std::string& path, const char* format, Value* value) {
  std::FILE* file = std::fopen(path.c_str(), "r");
  if (file == nullptr) return false;
  const bool read = std::fscanf(file, format, value) == 1;
  std::fclose(file);
  return read;
}

// The size of the first CPU's cache of a level, as Linux tells it.
int64_t cache_bytes(int level, int64_t otherwise) {
  for (int index = 0; index < 8; ++index) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index);
    long long found_level = 0, kib = 0;
    char kind[16] = "";
    const bool known = read_line(folder + "/level", "%lld", &found_level) &&
                       read_line(folder + "/type", "%15s", kind) &&
                       read_line(folder + "/size", "%lldK", &kib);
    if (known && found_level == level && std::strcmp(kind, "Instruction") != 0 && kib > 0) return kib << 10;
  }
  return otherwise;
}

bool is_group_size(int64_t columns) {
  return columns == 0 || columns == 32 || columns == 64 || columns == 128 || columns == 256;
}

bool parse(int argc, char** argv, Options* options) {
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    if (i + 1 >= argc) return false;
    char* rest = argv[i + 1];
    const auto number = [&] { return static_cast<int64_t>(std::strtoll(rest, &rest, 10)); };
    if (flag == "--columns") {
      options->columns = number();
    } else if (flag == "--rounds") {
      options->rounds = number();
    } else if (flag == "--tokens") {
      options->tokens = number();
    } else if (flag == "--group-size") {
      options->group_size = number();
    } else if (flag == "--sets") {
      for (bool more = true; more; more = *rest == ',' && *++rest != '\0') {
        options->set_bytes.push_back(number() << 10);
      }
    } else {
      return false;
    }
    if (*rest != '\0') return false;
  }
  const bool in_range = options->columns >= 1 && options->columns <= edge::kMaxColumns &&
                        options->rounds >= 1 && is_group_size(options->group_size) && options->tokens >= 1 &&
                        options->tokens <= 4096;
  return in_range && std::all_of(options->set_bytes.begin(), options->set_bytes.end(),
                                 [](int64_t bytes) { return bytes >= 1024 && bytes < int64_t{1} << 33; });
}

// Runs `--read FILE [--threads N]` and returns the exit code.
int read_command(int argc, char** argv) {
  char* rest = nullptr;
  const bool has_threads = argc == 5 && std::strcmp(argv[3], "--threads") == 0;
  const long long threads = has_threads ? std::strtoll(argv[4], &rest, 10) : 1;
  if ((argc != 3 && !has_threads) || (rest != nullptr && *rest != '\0') || threads < 1 || threads > 256) {
    std::fprintf(stderr,
                 "lowbit_kernel_bench: --read takes a file, and --threads from 1 to 256; see --help\n");
    return 2;
  }
  const double taken = edge::read_seconds(argv[2], static_cast<int>(threads));
  if (taken <= 0) {
    std::fprintf(stderr, "lowbit_kernel_bench: cannot read '%s'\n", argv[2]);
    return 2;
  }
  std::printf("%.9f\n", taken);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (argc > 1 && std::strcmp(argv[1], "--read") == 0) return read_command(argc, argv);
  if (argc > 1 && std::strcmp(argv[1], "--layer") == 0) return edge::layer_command(argc, argv);
  if (argc == 2 && std::strcmp(argv[1], "--help") == 0) {
    std::fputs(kUsage, stdout);
    std::fputs(edge::kLayerUsage, stdout);
    return 0;
  }
  if (!parse(argc, argv, &options)) {
    std::fprintf(stderr, "lowbit_kernel_bench: cannot use these arguments; see --help\n");
    return 2;
  }
  if (options.set_bytes.empty()) {
    const int64_t l2 = cache_bytes(2, 512 << 10), l3 = cache_bytes(3, 8 << 20);
    options.set_bytes = {l2 / 2, l3 / 4 * 3, l3 * 8};
  }
  std::printf("Random codes, %lld columns, 1 thread, %lld token(s), median (least-most) of %lld rounds.\n\n",
              static_cast<long long>(options.columns), static_cast<long long>(options.tokens),
              static_cast<long long>(options.rounds));
  const bool decode = options.tokens == 1, grouped = options.group_size != 0;
  std::printf("| encoding | set KiB | kernel | %s |%s\n|---|---|---|---|%s%s\n",
              decode ? "GB/s of packed weights | read GB/s | share" : "GOPS",
              grouped ? " time over one scale per row |" : "", decode ? "---|---|" : "",
              grouped ? "---|" : "");
  for (const int64_t set : options.set_bytes) {
    for (const edge::EncodingTraits& encoding : edge::kEncodings) {
      if (options.group_size != 0 && !encoding.has_planes()) continue;
      if (!measure(encoding, set, options)) return 1;
    }
  }
  return 0;
}
