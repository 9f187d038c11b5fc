#include "tools/layer_bench.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/dispatch.h"
#include "core/linear.h"
#include "core/team.h"
#include "tools/median.h"
#include "tools/random.h"
#include "tools/read_bandwidth.h"

namespace edge {

const char* const kLayerUsage =
    "       lowbit_kernel_bench --layer DIM,QKV,OUT,FFN [--layers N] [--threads N] [--rounds N] [--kernel "
    "K]\n"
    "--layer    a token through the four linears of a layer, as decode calls them: [QKV, DIM] with its "
    "norm,\n"
    "           [DIM, OUT] added to the residual, gate and up [2 FFN, DIM] with norm and SiLU, [DIM, FFN]\n"
    "           added; microseconds a call: cold, when all N layers (default 30) take turns, and warm, when\n"
    "           one layer is run again and again; beside a pure read of the same bytes\n";

namespace {

constexpr int64_t kAlignment = 64;
constexpr int kOps = 4;
constexpr Encoding kTimed[] = {Encoding::kBits1, Encoding::kBase3, Encoding::kBits2,
                               Encoding::kBits3, Encoding::kBits4, Encoding::kBits8};

struct Options {
  int64_t dim = 0, qkv = 0, out = 0, ffn = 0;
  int64_t layers = 30, threads = 1, rounds = 9;
  const Kernel* kernel = nullptr;
};

struct OpShape {
  const char* name;
  int64_t n, k;
  bool norm, gate_up, residual;
};

struct FreeDeleter {
  void operator()(uint8_t* bytes) const { std::free(bytes); }
};

// Tables of random bytes, one behind the other as in a program; to the kernels any byte holds codes.
class Tables {
 public:
  Tables(const EncodingTraits& encoding, const std::vector<OpShape>& ops, int64_t layers) {
    const TableForm form = {&encoding, 0, ScaleType::kFloat32, false,
                            static_cast<float>(encoding.largest_code()) / 2};
    std::vector<int64_t> offsets;
    int64_t bytes = 0;
    for (int64_t layer = 0; layer < layers; ++layer) {
      for (const OpShape& op : ops) {
        offsets.push_back(bytes);
        bytes += round_up(static_cast<int64_t>(expected_header(op.n, op.k, form).total_bytes), kAlignment);
      }
    }
    void* aligned = nullptr;  // not aligned_alloc, which Android has since API 28
    if (posix_memalign(&aligned, kAlignment, static_cast<size_t>(bytes)) != 0) std::abort();
    bytes_.reset(static_cast<uint8_t*>(aligned));
    Random random(1);
    for (int64_t at = 0; at + 8 <= bytes; at += 8) {
      const uint64_t word = random.bits();
      std::memcpy(bytes_.get() + at, &word, sizeof(word));
    }
    for (size_t i = 0; i < offsets.size(); ++i) add(bytes_.get() + offsets[i], ops[i % ops.size()], form);
  }
  const PackedView& view(int64_t layer, int64_t op) const {
    return views_[static_cast<size_t>(layer * kOps + op)];
  }

 private:
  void add(uint8_t* data, const OpShape& op, const TableForm& form) {
    const PackedHeader header = expected_header(op.n, op.k, form);
    const float scale = 0.01f;
    for (int64_t row = 0; row < op.n; ++row) std::memcpy(data + sizeof(header) + row * 4, &scale, 4);
    std::memcpy(data, &header, sizeof(header));
    views_.push_back(view_of(header, form, data));
  }

  std::unique_ptr<uint8_t, FreeDeleter> bytes_;
  std::vector<PackedView> views_;
};

// Seconds of each op in one pass, all layers together, and of the whole pass.
struct Pass {
  double ops[kOps] = {}, all = 0;
};

// The float buffers of a token, and the ops on them.
class Token {
 public:
  Token(const Options& options, const std::vector<OpShape>& ops)
      : ops_(ops),
        x_(Random(2).values(options.dim)),
        wide_(Random(3).values(std::max(options.out, options.ffn))),
        norm_(static_cast<size_t>(options.dim), 1.0f),
        y_(static_cast<size_t>(std::max(options.qkv, std::max(options.dim, options.ffn)))),
        scratch_(static_cast<size_t>(8 * std::max(std::max(options.dim, options.out), options.ffn)) + 4096) {}

  void run(const PackedView& table, int64_t op, const Kernel& kernel, const ParallelFor& parallel) {
    LinearFusion fusion;
    const OpShape& shape = ops_[static_cast<size_t>(op)];
    if (shape.norm) fusion.norm_weight = norm_.data(), fusion.eps = 1e-5f;
    if (shape.residual) fusion.residual = x_.data();
    fusion.gate_up = shape.gate_up;
    const float* input = shape.norm ? x_.data() : wide_.data();
    linear(input, 1, table, fusion, kernel, parallel, scratch_.data(), y_.data());
  }
  const std::vector<float>& result() const { return y_; }

 private:
  const std::vector<OpShape>& ops_;
  std::vector<float> x_, wide_, norm_, y_;
  std::vector<uint8_t> scratch_;
};

using Call = std::function<void(int64_t layer, int64_t op)>;
using Clock = std::chrono::steady_clock;

Pass timed_pass(int64_t layers, const Call& call) {
  Pass pass;
  const auto start = Clock::now();
  auto before = start;
  for (int64_t layer = 0; layer < layers; ++layer) {
    for (int64_t op = 0; op < kOps; ++op) {
      call(layer, op);
      const auto now = Clock::now();
      pass.ops[op] += std::chrono::duration<double>(now - before).count();
      before = now;
    }
  }
  pass.all = std::chrono::duration<double>(before - start).count();
  return pass;
}

// Returns the median over passes of one op, or of the whole pass for kOps.
double median_of(const std::vector<Pass>& passes, int64_t op) {
  std::vector<double> values;
  for (const Pass& pass : passes) values.push_back(op == kOps ? pass.all : pass.ops[op]);
  return median(values);
}

// True if the kernel gives the scalar kernel's bits on the first layer.
bool is_right(const Tables& tables, const Kernel& kernel, const ParallelFor& parallel, Token* token) {
  for (int64_t op = 0; op < kOps; ++op) {
    token->run(tables.view(0, op), op, kScalar, parallel);
    const std::vector<float> expected = token->result();
    token->run(tables.view(0, op), op, kernel, parallel);
    if (std::memcmp(expected.data(), token->result().data(), expected.size() * sizeof(float)) != 0)
      return false;
  }
  return true;
}

void print_rows(const EncodingTraits& encoding, const std::vector<OpShape>& ops, const Tables& tables,
                int64_t layers, const std::vector<Pass>* kinds) {
  for (int64_t op = 0; op <= kOps; ++op) {
    int64_t bytes = 0;
    for (int64_t each = 0; each < kOps; ++each) {
      if (op == kOps || op == each) bytes += tables.view(0, each).codes_bytes();
    }
    double us[4];
    for (int kind = 0; kind < 4; ++kind) {
      us[kind] = median_of(kinds[kind], op) / static_cast<double>(layers) * 1e6;
    }
    const bool whole = op == kOps;
    std::printf("| %s | %s | %lld | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f |\n", encoding.name,
                whole ? "layer" : ops[static_cast<size_t>(op)].name, static_cast<long long>(bytes >> 10),
                us[0], us[1], us[1] / us[0], us[2], us[3], us[3] / us[2]);
  }
  std::fflush(stdout);
}

void run_on_threads(void* threads, int64_t count, int64_t grain, ParallelFor::Body body, void* context) {
  run_on_team(*static_cast<const int64_t*>(threads), count, grain, body, context);
}

bool measure(const EncodingTraits& encoding, const std::vector<OpShape>& ops, Options options) {
  const Tables tables(encoding, ops, options.layers);
  const ParallelFor parallel{run_on_threads, &options.threads};
  const Kernel& kernel = *options.kernel;
  Token token(options, ops);
  if (!is_right(tables, kernel, parallel, &token)) {
    std::fprintf(stderr, "lowbit_kernel_bench: kernel %s differs from scalar at %s; nothing was timed\n",
                 kernel.name, encoding.name);
    return false;
  }
  volatile uint64_t sink = 0;
  const auto read = [&](int64_t layer, int64_t op) {
    const PackedView& view = tables.view(layer, op);
    auto part = [&](int64_t begin, int64_t end) {
      const int64_t bytes = view.block_bytes();
      sink = sink ^ read_all(view.codes + begin * bytes, (end - begin) * bytes, 4096);
    };
    parallel(view.blocks(), 1, part);
  };
  const auto run = [&](int64_t layer, int64_t op) {
    token.run(tables.view(layer, op), op, kernel, parallel);
  };
  const Call calls[4] = {run, read, [&](int64_t, int64_t op) { run(0, op); },
                         [&](int64_t, int64_t op) { read(0, op); }};
  std::vector<Pass> passes[4];
  for (int64_t round = 0; round <= options.rounds; ++round) {
    for (int kind = 0; kind < 4; ++kind) {
      const Pass pass = timed_pass(options.layers, calls[kind]);
      if (round > 0) passes[kind].push_back(pass);  // round 0 warms up
    }
  }
  print_rows(encoding, ops, tables, options.layers, passes);
  return true;
}

bool parse_number(const char* text, int64_t least, int64_t most, int64_t* value) {
  char* rest = nullptr;
  *value = std::strtoll(text, &rest, 10);
  return rest != text && *rest == '\0' && *value >= least && *value <= most;
}

bool parse_shape(const std::string& text, Options* options) {
  int64_t* const sizes[] = {&options->dim, &options->qkv, &options->out, &options->ffn};
  size_t begin = 0;
  for (int i = 0; i < 4; ++i) {
    const size_t end = i == 3 ? text.size() : text.find(',', begin);
    if (end == std::string::npos || begin > end) return false;
    if (!parse_number(text.substr(begin, end - begin).c_str(), 1, kMaxColumns, sizes[i])) return false;
    begin = end + 1;
  }
  return options->ffn % kBlockRows == 0;
}

bool parse(int argc, char** argv, Options* options) {
  Error error;
  options->kernel = selected_kernel(&error);
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    if (i + 1 >= argc) return false;
    bool good = false;
    if (flag == "--layer") good = parse_shape(argv[i + 1], options);
    if (flag == "--layers") good = parse_number(argv[i + 1], 1, 1000, &options->layers);
    if (flag == "--threads") good = parse_number(argv[i + 1], 1, 256, &options->threads);
    if (flag == "--rounds") good = parse_number(argv[i + 1], 1, 100000, &options->rounds);
    if (flag == "--kernel") good = (options->kernel = find_kernel(argv[i + 1], &error)) != nullptr;
    if (!good) return false;
  }
  return options->kernel != nullptr && options->dim > 0;
}

}  // namespace

int layer_command(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, &options)) {
    std::fprintf(stderr, "lowbit_kernel_bench: cannot use these arguments; see --help\n");
    return 2;
  }
  const std::vector<OpShape> ops = {
      {"norm_linear qkv", options.qkv, options.dim, true, false, false},
      {"linear_add out", options.dim, options.out, false, false, true},
      {"norm_gate_up", 2 * options.ffn, options.dim, true, true, false},
      {"linear_add down", options.dim, options.ffn, false, false, true},
  };
  std::printf("Random codes, kernel %s, %lld thread(s), %lld layers, medians of %lld rounds.\n\n",
              options.kernel->name, static_cast<long long>(options.threads),
              static_cast<long long>(options.layers), static_cast<long long>(options.rounds));
  std::printf(
      "| encoding | op | KiB | cold us | read us | share | warm us | read us | share |\n"
      "|---|---|---|---|---|---|---|---|---|\n");
  for (const Encoding encoding : kTimed) {
    const EncodingTraits& traits = traits_of(encoding);
    if (encoding == Encoding::kBase3 && !options.kernel->runs_base3) continue;
    if (!measure(traits, ops, options)) return 1;
  }
  return 0;
}

}  // namespace edge
