// Threads that run the loops of ops. The ops of a token follow each other within microseconds, and waking a
// thread takes longer than that; so threads that are done spin for a while before they sleep.
#pragma once

#include "core/parallel.h"

namespace edge {

// Calls body on disjoint ranges that cover [0, count), on the caller and `threads` - 1 others, which the
// process keeps; returns when all are done. A thread that is done takes another range, at least `grain`
// items, so that a slow core keeps no fast one waiting. If another caller's loop is running, the caller works
// alone.
void run_on_team(int64_t threads, int64_t count, int64_t grain, ParallelFor::Body body, void* context);

}  // namespace edge
