package org.lowbit.demo.core;

import java.io.IOException;

/** Receives the ids of a generation, on the thread that called {@link Native#generate}. */
interface TokenListener {
    /** Takes the next id; false ends the generation before another is computed. An exception ends it too and reaches the caller. */
    boolean onToken(long id) throws IOException;
}
