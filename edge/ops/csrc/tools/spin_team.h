// Threads that spin while they wait, so that a benchmark measures work and not waking. One loop at a time.
#pragma once

#include <atomic>
#include <thread>
#include <vector>

#include "core/parallel.h"

namespace edge {

class SpinTeam {
 public:
  explicit SpinTeam(int threads) {
    for (int index = 1; index < threads; ++index) workers_.emplace_back([this, index] { serve(index); });
  }
  ~SpinTeam() {
    stops_ = true;
    for (std::thread& worker : workers_) worker.join();
  }
  SpinTeam(const SpinTeam&) = delete;
  SpinTeam& operator=(const SpinTeam&) = delete;

  ParallelFor parallel() { return {run_here, this}; }

 private:
  static void run_here(void* self, int64_t count, int64_t, ParallelFor::Body body, void* context) {
    static_cast<SpinTeam*>(self)->run(count, body, context);
  }

  int64_t size() const { return static_cast<int64_t>(workers_.size()) + 1; }

  void run(int64_t count, ParallelFor::Body body, void* context) {
    count_ = count, body_ = body, context_ = context;
    busy_.store(size() - 1, std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    work(0);
    while (busy_.load(std::memory_order_acquire) != 0) continue;
  }

  void work(int64_t index) {
    const int64_t begin = count_ * index / size(), end = count_ * (index + 1) / size();
    if (begin < end) body_(context_, begin, end);
  }

  void serve(int index) {
    for (int64_t round = 1;; ++round) {
      while (round_.load(std::memory_order_acquire) < round) {
        if (stops_) return;
      }
      work(index);
      busy_.fetch_sub(1, std::memory_order_release);
    }
  }

  int64_t count_ = 0;
  ParallelFor::Body body_ = nullptr;
  void* context_ = nullptr;
  std::atomic<int64_t> round_{0}, busy_{0};
  std::atomic<bool> stops_{false};
  std::vector<std::thread> workers_;  // last: they use the others
};

}  // namespace edge
