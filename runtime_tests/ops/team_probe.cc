// Runs loops on the team (core/team.h) and counts how often each item was seen. "loops": from several callers
// at once, inside each other, with pauses behind which threads sleep. "fork": in a child process.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "core/team.h"

namespace {

struct Seen {
  std::vector<int> times;
  bool nested;
};

void see(void* context, int64_t begin, int64_t end) {
  auto* seen = static_cast<Seen*>(context);
  if (seen->nested && begin == 0) {
    Seen inner{std::vector<int>(10), false};
    edge::run_on_team(3, 10, 1, see, &inner);
    for (const int times : inner.times) seen->times[0] += times - 1;
  }
  for (int64_t i = begin; i < end; ++i) ++seen->times[static_cast<size_t>(i)];
}

bool loop(int64_t threads, int64_t count, int64_t grain, bool nested = false) {
  Seen seen{std::vector<int>(static_cast<size_t>(count)), nested};
  edge::run_on_team(threads, count, grain, see, &seen);
  for (const int times : seen.times) {
    if (times != 1) return false;
  }
  return true;
}

int loops() {
  std::atomic<int> wrong{0};
  const auto caller = [&](int64_t first) {
    for (int64_t i = first; i < first + 400; ++i) {
      if (!loop(1 + i % 5, i % 37, 1 + i % 4, i % 11 == 0)) ++wrong;
      if (i % 100 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  };
  std::vector<std::thread> callers;
  for (int64_t first = 1; first < 4; ++first) callers.emplace_back(caller, first);
  for (std::thread& each : callers) each.join();
  return wrong;
}

int in_a_child() {
  if (!loop(3, 100, 1)) return 1;
  const pid_t child = fork();
  if (child == 0) _exit(loop(3, 100, 1) ? 0 : 1);
  int status = 0;
  waitpid(child, &status, 0);
  return status == 0 && loop(3, 100, 1) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const bool forks = argc > 1 && std::strcmp(argv[1], "fork") == 0;
  const int wrong = forks ? in_a_child() : loops();
  std::printf("%d wrong\n", wrong);
  return wrong == 0 ? 0 : 1;
}
