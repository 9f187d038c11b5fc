package org.lowbit.demo.core;

import java.io.IOException;

/** How the next token is chosen, and how many are. */
final class Sampling {
    final long maxNewTokens;
    final double temperature;
    final double topP;
    final int topK;
    final long seed;

    /** Reads and checks the members that settings and generate.start share. */
    Sampling(JsonObject from) throws IOException {
        maxNewTokens = from.atLeast(1, "max_new_tokens");
        temperature = from.number("temperature");
        topP = from.number("top_p");
        topK = (int) Math.min(from.atLeast(0, "top_k"), Integer.MAX_VALUE);
        seed = from.atLeast(0, "seed");
        if (temperature < 0 || temperature > 10) {
            throw new Refusal("temperature must lie in 0..10, not " + temperature + ".");
        }
        if (topP <= 0 || topP > 1) throw new Refusal("top_p must lie above 0 and at most at 1, not " + topP + ".");
    }
}
