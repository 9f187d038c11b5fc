package org.lowbit.demo.core;

import java.util.ArrayList;
import java.util.List;

/** The widths that an answer's tokens were computed at: how many tokens in turn at each. One thread at a time uses it. */
final class WidthRuns {
    private final List<long[]> runs = new ArrayList<long[]>(); // bits, tokens

    /** Counts a token. */
    void add(long bits) {
        if (runs.isEmpty() || last()[0] != bits) runs.add(new long[] {bits, 0});
        ++last()[1];
    }

    List<JsonObject> describe() {
        List<JsonObject> told = new ArrayList<JsonObject>();
        for (long[] run : runs) told.add(new JsonObject().put("bits", run[0]).put("tokens", run[1]));
        return told;
    }

    private long[] last() {
        return runs.get(runs.size() - 1);
    }
}
