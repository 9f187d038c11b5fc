package org.lowbit.demo.core;

import java.io.IOException;

/**
 * The native side. Every method throws IOException with one sentence when it fails. A handle is used by one thread at a
 * time. The library {@code lowbit_app} is loaded at the first call.
 */
final class Native {
    static {
        System.loadLibrary("lowbit_app");
    }

    private Native() {}

    /** Opens a program and returns its handle, which {@link #close} frees. With 0 threads the runtime chooses how many. */
    static native long open(String path, int threads) throws IOException;

    /** Frees what {@link #open} took. The handle is of no use afterwards. */
    static native void close(long handle);

    /**
     * Returns JSON: kernel, file_bytes, planned_bytes, vocab_size, max_seq_len, eos_ids, widths; these are the bits of each
     * layer of an elastic program, and none of others.
     */
    static native String describe(long handle) throws IOException;

    /**
     * Sets the bits of an elastic program, one number or one for each layer, for all that is computed from now on; a
     * listener may do so between tokens. The KV cache stays as it is.
     */
    static native void setWidths(long handle, long[] bits) throws IOException;

    /**
     * Runs {@code tokens} from {@code position} on, whose earlier positions the KV cache still holds, then samples.
     * Calls {@code listener} for each new id; false from it ends the generation, and an exception of its own is thrown on.
     *
     * @return JSON: prompt_tokens, generated_tokens, prefill_seconds, decode_seconds, sampling_seconds,
     *     end ("end" | "length" | "context" | "listener")
     */
    static native String generate(
            long handle,
            long[] tokens,
            long position,
            long maxNewTokens,
            double temperature,
            double topP,
            int topK,
            long seed,
            TokenListener listener)
            throws IOException;

    /**
     * Runs the runner's benchmark of a program, which this call loads and frees.
     *
     * @return exactly the JSON of {@code lowbit_runner --benchmark}
     */
    static native String benchmark(
            String path, long[] promptLengths, long[] contexts, long generate, long warmup, long runs, int threads)
            throws IOException;

    /** Returns JSON: resident_bytes, peak_bytes of the process. */
    static native String memory();
}
