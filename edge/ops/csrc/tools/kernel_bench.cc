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
    "--group-size  columns that share a scale: 32, 64, 128 or 256 (default: one scale per row)\n"
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

struct Case {
  PackedView view;
  std::vector<float> x, y;
  std::vector<uint8_t> scratch;
  int64_t tokens;

  void run(const Kernel& kernel) {
    const edge::ParallelFor serial{run_here, nullptr};
    edge::linear(x.data(), tokens, view, {}, kernel, serial, scratch.data(), y.data());
  }
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

// One line of the table: all kernels on one encoding and working set. False when a kernel is wrong.
bool measure(const edge::EncodingTraits& encoding, int64_t set_bytes, const Options& options) {
  int64_t rows = 0;
  const std::vector<uint8_t> table =
      random_table(form_of(encoding, options.group_size), options.columns, set_bytes, &rows);
  Case run;
  edge::Error error;
  int64_t scratch_bytes = 0;
  if (!edge::open_packed(table.data(), static_cast<int64_t>(table.size()), rows, options.columns, &run.view,
                         &error) ||
      !edge::linear_scratch(options.tokens, run.view, {}, &scratch_bytes, &error)) {
    std::fprintf(stderr, "lowbit_kernel_bench: %s\n", error.message);
    return false;
  }
  run.tokens = options.tokens;
  uint64_t state = 2;
  for (int64_t i = 0; i < run.tokens * options.columns; ++i) {
    run.x.push_back(static_cast<float>(next_random(&state)) * 0x1p-31f - 0.5f);
  }
  run.y.resize(static_cast<size_t>(run.tokens * rows));
  run.scratch.resize(static_cast<size_t>(scratch_bytes));

  std::vector<const Kernel*> kernels = kernels_for(encoding);
  run.run(*kernels.back());
  const std::vector<float> expected = run.y;
  for (const Kernel* kernel : kernels) {
    run.run(*kernel);
    if (std::memcmp(run.y.data(), expected.data(), expected.size() * sizeof(float)) != 0) {
      std::fprintf(stderr, "lowbit_kernel_bench: kernel %s differs from scalar at %s; nothing was timed\n",
                   kernel->name, encoding.name);
      return false;
    }
  }

  if (kernels.size() > 1) kernels.pop_back();  // scalar is the reference; timed only if alone

  const int64_t bytes = run.view.codes_bytes();
  const double work = options.tokens == 1
                          ? static_cast<double>(bytes)
                          : 2.0 * static_cast<double>(rows * options.columns * options.tokens);
  const int64_t repetitions = std::max<int64_t>(1, (int64_t{64} << 20) / (bytes * options.tokens));
  std::vector<std::vector<double>> rates(kernels.size());
  std::vector<double> plain, ahead;
  volatile uint64_t sink = 0;
  for (int64_t round = 0; round <= options.rounds; ++round) {
    const auto read = [&](int64_t distance) {
      return work * static_cast<double>(repetitions) /
             seconds(repetitions, [&] { sink = sink ^ read_all(run.view.codes, bytes, distance); }) / 1e9;
    };
    const double plain_rate = read(0), ahead_rate = read(4096);
    if (round > 0) plain.push_back(plain_rate), ahead.push_back(ahead_rate);  // round 0 warms up
    for (size_t i = 0; i < kernels.size(); ++i) {
      const double rate =
          work * static_cast<double>(repetitions) / seconds(repetitions, [&] { run.run(*kernels[i]); }) / 1e9;
      if (round > 0) rates[i].push_back(rate);
    }
  }
  const double best_read = std::max(median(plain), median(ahead));
  for (size_t i = 0; i < kernels.size(); ++i) {
    const auto [least, most] = std::minmax_element(rates[i].begin(), rates[i].end());
    std::printf("| %s | %lld | %s | %.1f (%.1f-%.1f) |", encoding.name, static_cast<long long>(bytes >> 10),
                kernels[i]->name, median(rates[i]), *least, *most);
    if (options.tokens == 1) std::printf(" %.1f | %.2f |", best_read, median(rates[i]) / best_read);
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
  std::printf(options.tokens == 1
                  ? "| encoding | set KiB | kernel | GB/s of packed weights | read GB/s | share |\n"
                    "|---|---|---|---|---|---|\n"
                  : "| encoding | set KiB | kernel | GOPS |\n|---|---|---|---|\n");
  for (const int64_t set : options.set_bytes) {
    for (const edge::EncodingTraits& encoding : edge::kEncodings) {
      if (options.group_size != 0 && !encoding.has_planes()) continue;
      if (!measure(encoding, set, options)) return 1;
    }
  }
  return 0;
}
