package org.lowbit.demo.core;

import java.io.IOException;
import java.util.Arrays;

/** A loaded program and the tokens that its KV cache holds. Used on the engine's thread only. */
final class Session {
    /** Tokens of a prompt that are fed at once: as many as the native side runs together. */
    private static final int PIECE = 128;

    final Program program;
    private final int threads;
    private final long handle;
    private long[] held = {};
    /** Bits of all layers; 0 where nothing chose them yet. */
    private long width;
    /** Whether a part of the KV cache was computed at another width. */
    private boolean mixed;

    private Session(Program program, int threads, long handle) {
        this.program = program;
        this.threads = threads;
        this.handle = handle;
    }

    /** Loads a program. Throws IOException if the runtime cannot run it or it is not what its manifest says. */
    static Session open(Program program, int threads) throws IOException {
        long handle = Native.open(program.path(), threads);
        try {
            JsonObject described = JsonReader.parseObject(Native.describe(handle));
            expect("vocabulary", program.manifest.vocabSize, described.whole("vocab_size"));
            expect("longest sequence", program.manifest.maxSeqLen, described.whole("max_seq_len"));
            expect("number of elastic layers", program.manifest.elasticLayers(), described.list("widths").size());
            return new Session(program, threads, handle);
        } catch (IOException error) {
            Native.close(handle);
            throw error;
        }
    }

    boolean is(Program other, int otherThreads) {
        return program.id.equals(other.id) && has(otherThreads);
    }

    boolean has(int otherThreads) {
        return threads == otherThreads;
    }

    /**
     * Continues a sequence. What the KV cache holds of its beginning is not computed again, if it was computed at this
     * width: so the same request gives the same answer, whatever was asked before. A long prompt is fed in pieces,
     * between which it can be stopped.
     *
     * @return what {@link Native#generate} tells of the whole, and reused_tokens
     */
    JsonObject generate(Generation generation) throws IOException {
        long[] tokens = generation.tokens;
        runAt(generation.nextWidth());
        int reused = mixed ? 0 : reusable(tokens);
        mixed = false;
        held = new long[0]; // unknown while it runs, and after a failure
        double seconds = 0;
        int at = reused;
        for (; tokens.length - at > PIECE && !generation.isStopped(); at += PIECE) {
            long[] piece = Arrays.copyOfRange(tokens, at, at + PIECE);
            seconds += call(piece, at, 0, generation.sampling, generation).number("prefill_seconds");
            runAt(generation.nextWidth());
        }
        JsonObject told;
        if (tokens.length - at > PIECE) {
            told = new JsonObject().put("generated_tokens", 0L).put("decode_seconds", 0.0).put("end", "listener");
            held = Arrays.copyOf(tokens, at);
        } else {
            told = answer(Arrays.copyOfRange(tokens, at, tokens.length), at, generation);
            seconds += told.number("prefill_seconds");
            at = tokens.length;
        }
        return told.put("reused_tokens", (long) reused)
                .put("prompt_tokens", (long) (at - reused))
                .put("prefill_seconds", seconds);
    }

    /** Feeds the last piece of the prompt and generates. */
    private JsonObject answer(long[] piece, int position, final Generation generation) throws IOException {
        final Sequence sequence = new Sequence(generation.tokens);
        long count = generation.sampling.maxNewTokens;
        JsonObject told = call(piece, position, count, generation.sampling, new TokenListener() {
            @Override
            public boolean onToken(long id) throws IOException {
                sequence.add(id);
                boolean goesOn = generation.onToken(id);
                runAt(generation.nextWidth());
                return goesOn;
            }
        });
        held = sequence.computed(generation.tokens.length);
        return told;
    }

    /** Sets the width for what is computed next, unless it is that already: native slices are made anew after it. */
    private void runAt(long bits) throws IOException {
        if (bits == width) return;
        Native.setWidths(handle, new long[] {bits});
        width = bits;
        mixed = true;
    }

    private JsonObject call(long[] piece, int position, long count, Sampling sampling, TokenListener listener)
            throws IOException {
        return JsonReader.parseObject(Native.generate(handle, piece, position, count, sampling.temperature,
                sampling.topP, sampling.topK, sampling.seed, listener));
    }

    /** Tokens at the beginning that need not be fed: not the last, whose logits are needed. */
    private int reusable(long[] tokens) {
        int same = Math.min(common(tokens, held), tokens.length - 1);
        // Behind a window, later tokens have overwritten earlier ones, so nothing can be taken back.
        return program.manifest.window > 0 && same < held.length ? 0 : same;
    }

    void close() {
        Native.close(handle);
    }

    private static int common(long[] a, long[] b) {
        int length = 0;
        while (length < a.length && length < b.length && a[length] == b[length]) ++length;
        return length;
    }

    private static void expect(String what, long said, long found) throws Refusal {
        if (said == found) return;
        throw new Refusal("The program's " + what + " is " + found + " and its manifest says " + said
                + ": export the program again.");
    }

    /** Tokens that grow. */
    private static final class Sequence {
        private long[] ids;
        private int length;

        Sequence(long[] start) {
            ids = start.clone();
            length = start.length;
        }

        void add(long id) {
            if (length == ids.length) ids = Arrays.copyOf(ids, Math.max(16, 2 * length));
            ids[length++] = id;
        }

        /** All tokens but the last generated one, which was chosen and not yet fed. */
        long[] computed(int given) {
            return Arrays.copyOf(ids, Math.max(given, length - 1));
        }
    }
}
