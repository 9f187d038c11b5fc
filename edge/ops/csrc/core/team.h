// Threads that run the loops of ops. The ops of a token follow each other within microseconds, and waking a
// thread takes longer than that; so threads that are done spin for a while before they sleep.
#pragma once

#include "core/parallel.h"

namespace edge {

// Calls body on disjoint ranges that cover [0, count), one for the caller and each of at most `threads` - 1
// others, which the process keeps; returns when all are done. Ranges are equal and as few as are worth a
// thread (`grain` items), because a kernel reads memory best in order. If another caller's loop is running,
// the caller works alone.
void run_on_team(int64_t threads, int64_t count, int64_t grain, ParallelFor::Body body, void* context);

}  // namespace edge
