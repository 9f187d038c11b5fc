// Calls the core from several threads at once, for ThreadSanitizer, and compares with what one thread gets.
// With the argument "race" it makes a data race of its own, to show that one would be reported.
#include <atomic>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "core/attention_job.h"
#include "core/c_api.h"
#include "core/dispatch.h"
#include "core/linear.h"
#include "core/unpacked_ternary.h"
#include "tools/random_table.h"

namespace edge {
namespace {

constexpr int kThreads = 4, kRounds = 300;
constexpr int64_t kTokens = 3, kRows = 40, kColumns = 100;

std::vector<const Kernel*> kernels() {
  std::vector<const Kernel*> found;
  std::string names = kernel_names();
  for (size_t from = 0; from < names.size();) {
    const size_t to = std::min(names.find(',', from), names.size());
    Error error;
    const Kernel* kernel = find_kernel(names.substr(from, to - from).c_str(), &error);
    if (kernel != nullptr) found.push_back(kernel);
    from = to + 1;
  }
  return found;
}

struct Inputs {
  std::vector<float> x;
  std::vector<RandomTable> ternary;  // as if of programs that are open
};

Inputs inputs() {
  Random random(1);
  Inputs made;
  made.x.resize(kTokens * kColumns);
  for (float& value : made.x) value = static_cast<float>(random.bits() % 2001) / 1000.0f - 1.0f;
  for (int i = 0; i < 3; ++i) {
    made.ternary.emplace_back(random_form(traits_of(Encoding::kBase3), &random), kRows, kColumns,
                              Fill::kRandom, &random);
  }
  return made;
}

// The product with a program's table, as the ops of ExecuTorch run it.
std::vector<float> of_program(const Inputs& in, size_t table, const Kernel& kernel) {
  std::vector<float> y(kTokens * kRows);
  RunnableTable runnable;
  Error error;
  int64_t bytes = 0;
  if (!runnable_of_program(in.ternary[table].view(), kernel, &runnable, &error) ||
      !linear_scratch(kTokens, runnable.view, {}, &bytes, &error)) {
    return {};
  }
  std::vector<char> scratch(static_cast<size_t>(bytes));
  const ParallelFor one{
      [](void*, int64_t count, int64_t, ParallelFor::Body body, void* context) { body(context, 0, count); },
      nullptr};
  linear(in.x.data(), kTokens, runnable.view, {}, kernel, one, scratch.data(), y.data());
  return y;
}

// The same by the C API, which starts two threads of its own.
std::vector<float> of_caller(const Inputs& in, size_t table, const char* kernel) {
  std::vector<float> y(kTokens * kRows);
  const PackedView& view = in.ternary[table].view();
  char error[256];
  const auto* packed = const_cast<RandomTable&>(in.ternary[table]).data();
  const int64_t size = in.ternary[table].size();
  const int status = edge_linear(in.x.data(), kTokens, view.k, packed, size, view.n, nullptr, 0, nullptr, 0,
                                 0, kernel, 2, y.data(), error, sizeof(error));
  return status == 0 ? y : std::vector<float>{};
}

// Attention over a cache of the thread's own.
std::vector<float> attended(const Inputs& in, const char* kernel) {
  constexpr int64_t heads = 2, dim = 8, positions = 16, capacity = (positions + kTile - 1) / kTile * kTile;
  std::vector<float> keys(capacity * dim), values(keys), out(kTokens * heads * dim),
      angle(positions * dim / 2, 0.5f);
  char error[256];
  const int status =
      edge_attention(in.x.data(), angle.data(), angle.data(), keys.data(), values.data(), kTokens, heads, 1,
                     dim, capacity, positions, 0, 0, 0, kernel, 2, out.data(), error, sizeof(error));
  return status == 0 ? out : std::vector<float>{};
}

int check() {
  const Inputs in = inputs();
  std::vector<std::vector<float>> wanted;
  const std::vector<const Kernel*> all = kernels();
  for (size_t table = 0; table < in.ternary.size(); ++table)
    wanted.push_back(of_caller(in, table, kScalar.name));
  const std::vector<float> wanted_attention = attended(in, kScalar.name);
  if (wanted[0].empty() || wanted[0] == wanted[1] || wanted_attention.empty()) return 2;
  std::atomic<int> wrong{0}, waiting{kThreads};
  const auto work = [&](int thread) {
    --waiting;
    while (waiting > 0) std::this_thread::yield();  // so that the first calls meet
    for (int round = 0; round < kRounds; ++round) {
      Error error;
      if (selected_kernel(&error) == nullptr) ++wrong;
      for (const Kernel* kernel : all) {
        const size_t table = static_cast<size_t>(thread + round) % in.ternary.size();
        if (of_program(in, table, *kernel) != wanted[table]) ++wrong;
        if (of_caller(in, table, kernel->name) != wanted[table]) ++wrong;
        if (attended(in, kernel->name) != wanted_attention) ++wrong;
      }
      if (round % 5 == thread) programs_changed();
      if (edge_held_table_bytes() < 0) ++wrong;
    }
  };
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) threads.emplace_back(work, thread);
  for (std::thread& thread : threads) thread.join();
  std::printf("%d wrong of %d calls\n", wrong.load(), kThreads * kRounds * static_cast<int>(all.size()) * 3);
  return wrong == 0 ? 0 : 1;
}

int race() {
  int counter = 0;
  std::thread other([&] { ++counter; });
  ++counter;
  other.join();
  return counter == 2 ? 0 : 1;
}

}  // namespace
}  // namespace edge

int main(int argc, char** argv) {
  return argc > 1 && std::strcmp(argv[1], "race") == 0 ? edge::race() : edge::check();
}
