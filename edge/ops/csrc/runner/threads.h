// The thread pool of the process, which the low-bit ops and XNNPACK share.
#pragma once

namespace edge_runner {

// Replaces the pool by one of `threads` threads, including the caller. Never call it while a program runs.
bool set_threads(int threads);

int thread_count();

// ExecuTorch's own choice: the pool's size at the first call, which must come before set_threads.
int default_threads();

}  // namespace edge_runner
