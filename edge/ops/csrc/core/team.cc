#include "core/team.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace edge {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kSpin = std::chrono::microseconds(100);
constexpr int kSpinsPerLook = 64;  // at the clock
constexpr int64_t kMaxThreads = 256;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");  // about as long; a yield is over at once
#endif
}

// Spins until `done()`, for kSpin at most; returns done().
template <class Done>
bool spin_until(Done done) {
  for (auto start = Clock::time_point{};;) {
    for (int i = 0; i < kSpinsPerLook; ++i) {
      if (done()) return true;
      pause();
    }
    const auto now = Clock::now();
    if (start == Clock::time_point{}) start = now;
    if (now - start > kSpin) return done();
  }
}

// The loop that runs now. Threads take ranges that become smaller towards its end.
struct Loop {
  int64_t count = 0, grain = 0, threads = 0;
  ParallelFor::Body body = nullptr;
  void* context = nullptr;
  alignas(64) std::atomic<int64_t> next{0};

  void work() {
    int64_t begin = next.load(std::memory_order_relaxed);
    while (begin < count) {
      const int64_t left = count - begin, share = left / (2 * threads);
      const int64_t end = begin + std::min(left, std::max(grain, share));
      if (!next.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
      body(context, begin, end);
      begin = next.load(std::memory_order_relaxed);
    }
  }
};

class Worker {
 public:
  Worker(Loop* loop, std::atomic<int64_t>* working) : loop_(loop), working_(working) {
    std::thread([this] { serve(); }).detach();  // lives as long as the process
  }

  void start() {
    round_.fetch_add(1);
    if (!sleeps_.load()) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_one();
  }

 private:
  void serve() {
    for (uint64_t seen = 0;; ++seen) {
      wait_behind(seen);
      loop_->work();
      working_->fetch_sub(1, std::memory_order_release);
    }
  }

  void wait_behind(uint64_t seen) {
    if (spin_until([&] { return round_.load(std::memory_order_acquire) != seen; })) return;
    std::unique_lock<std::mutex> lock(mutex_);
    sleeps_.store(true);
    wake_.wait(lock, [&] { return round_.load() != seen; });
    sleeps_.store(false);
  }

  Loop* const loop_;
  std::atomic<int64_t>* const working_;
  alignas(64) std::atomic<uint64_t> round_{0};
  std::atomic<bool> sleeps_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
};

class Team {
 public:
  // False, and nothing is done, if another loop is running.
  bool run(int64_t threads, int64_t count, int64_t grain, ParallelFor::Body body, void* context) {
    const std::unique_lock<std::mutex> lock(caller_, std::try_to_lock);
    if (!lock.owns_lock()) return false;
    loop_.count = count, loop_.grain = grain, loop_.threads = threads;
    loop_.body = body, loop_.context = context;
    loop_.next.store(0, std::memory_order_relaxed);
    working_.store(threads - 1, std::memory_order_relaxed);
    while (static_cast<int64_t>(workers_.size()) < threads - 1) {
      workers_.push_back(std::make_unique<Worker>(&loop_, &working_));
    }
    for (int64_t i = 0; i < threads - 1; ++i) workers_[static_cast<size_t>(i)]->start();
    loop_.work();
    const auto done = [this] { return working_.load(std::memory_order_acquire) == 0; };
    while (!spin_until(done)) std::this_thread::yield();
    return true;
  }

 private:
  std::mutex caller_;
  Loop loop_;
  alignas(64) std::atomic<int64_t> working_{0};
  std::vector<std::unique_ptr<Worker>> workers_;
};

// Never deleted, because its threads use it until the process ends.
std::atomic<Team*> team_now{nullptr};

Team& team() {
  static const bool made = [] {
    team_now = new Team;
    pthread_atfork(nullptr, nullptr, [] { team_now = new Team; });  // a fork has no threads but the caller
    return true;
  }();
  static_cast<void>(made);
  return *team_now.load(std::memory_order_acquire);
}

}  // namespace

void run_on_team(int64_t threads, int64_t count, int64_t grain, ParallelFor::Body body, void* context) {
  if (count <= 0) return;
  threads = std::min(std::min(threads, kMaxThreads), (count + grain - 1) / grain);
  if (threads <= 1 || !team().run(threads, count, grain, body, context)) body(context, 0, count);
}

}  // namespace edge
