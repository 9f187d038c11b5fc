package org.lowbit.demo.core;

import java.io.IOException;

/** What the user asked for cannot be done. The message is one sentence with the cure, which the page shows as it is. */
final class Refusal extends IOException {
    private static final long serialVersionUID = 1L;

    Refusal(String sentence) {
        super(sentence);
    }

    Refusal(String sentence, Throwable cause) {
        super(sentence, cause);
    }

    static Refusal unknownCall(String call) {
        return new Refusal("The app has no call " + call + ".");
    }
}
