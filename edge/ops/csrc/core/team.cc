#include "core/team.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
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

// What a thread is told, in one line of the cache, because each line must travel to the other core.
struct alignas(64) Order {
  std::atomic<uint64_t> round{0};
  ParallelFor::Body body = nullptr;
  void* context = nullptr;
  int64_t begin = 0, end = 0;
};

struct Member {
  Order order;
  alignas(64) std::atomic<uint64_t> finished{0};  // the last round that the thread finished
  std::atomic<bool> sleeps{false};
  std::mutex mutex;
  std::condition_variable wake;
};

class Team {
 public:
  // False, and nothing is done, if another loop is running.
  bool run(int64_t threads, int64_t count, ParallelFor::Body body, void* context) {
    if (busy_.exchange(true, std::memory_order_acquire)) return false;
    const size_t others = members_up_to(static_cast<size_t>(threads - 1));
    threads = static_cast<int64_t>(others) + 1;
    for (size_t i = 0; i < others; ++i) {
      const auto share = static_cast<int64_t>(i) + 1;  // the caller has the first
      Order& order = members_[i]->order;
      order.body = body, order.context = context;
      order.begin = count * share / threads, order.end = count * (share + 1) / threads;
      start(members_[i].get());
    }
    body(context, 0, count / threads);
    for (size_t i = 0; i < others; ++i) {
      const Member& member = *members_[i];
      const uint64_t round = member.order.round.load(std::memory_order_relaxed);
      const auto done = [&] { return member.finished.load(std::memory_order_acquire) == round; };
      while (!spin_until(done)) std::this_thread::yield();
    }
    busy_.store(false, std::memory_order_release);
    return true;
  }

 private:
  // Starts threads until there are `wanted`, and returns how many of those there are: fewer where the system
  // gives no more. Threads live as long as the process.
  size_t members_up_to(size_t wanted) {
    while (members_.size() < wanted) {
      auto member = std::make_unique<Member>();
      pthread_t thread;  // not std::thread, whose failure is an exception: Android's build has none
      if (pthread_create(&thread, nullptr, serve, member.get()) != 0) return members_.size();
      pthread_detach(thread);
      members_.push_back(std::move(member));
    }
    return wanted;
  }

  static void start(Member* member) {
    member->order.round.fetch_add(1);
    if (!member->sleeps.load()) return;
    const std::lock_guard<std::mutex> lock(member->mutex);
    member->wake.notify_one();
  }

  static void* serve(void* served) {
    Member* member = static_cast<Member*>(served);
    for (uint64_t round = 1;; ++round) {
      wait_for(round, member);
      const Order& order = member->order;
      order.body(order.context, order.begin, order.end);
      member->finished.store(round, std::memory_order_release);
    }
  }

  static void wait_for(uint64_t round, Member* member) {
    const auto is_there = [&] { return member->order.round.load() == round; };
    if (spin_until(is_there)) return;
    std::unique_lock<std::mutex> lock(member->mutex);
    member->sleeps.store(true);
    member->wake.wait(lock, is_there);
    member->sleeps.store(false);
  }

  std::atomic<bool> busy_{false};
  std::vector<std::unique_ptr<Member>> members_;
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
  if (threads <= 1 || !team().run(threads, count, body, context)) body(context, 0, count);
}

}  // namespace edge
