package org.lowbit.demo.core;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/** One answer while it is generated: what was asked for and the ids so far. Any thread may use it. */
final class Generation implements TokenListener {
    final long run;
    final Program program;
    final int threads;
    final long[] tokens;
    final Sampling sampling;
    /** Where the answer belongs; null where it is not kept. */
    final String conversation;
    final long turn;

    private final WidthRuns widths = new WidthRuns();
    private final List<Long> ids = new ArrayList<Long>();
    private int sent;
    private int saved;
    private long startedNanos;
    private long firstTokenNanos;
    private volatile boolean stopped;
    private long wantedWidth;
    private long runningWidth;

    Generation(long run, Program program, int threads, JsonObject request) throws IOException {
        this.run = run;
        this.program = program;
        this.threads = threads;
        tokens = request.wholes("tokens");
        sampling = new Sampling(request);
        conversation = request.textOrNull("conversation");
        turn = conversation == null ? 0 : request.atLeast(0, "turn");
        setWidth(request.lacks("width") ? 0 : request.whole("width"));
        checkTokens();
    }

    private void checkTokens() throws IOException {
        long room = program.manifest.maxSeqLen;
        if (tokens.length == 0) throw new Refusal("There is nothing to continue: write something first.");
        if (tokens.length > room) {
            throw new Refusal("The text has " + tokens.length + " tokens and this program holds " + room
                    + ": shorten it, begin a new conversation, or export with a longer --max-seq-len.");
        }
        for (long token : tokens) {
            if (token < 0 || token >= program.manifest.vocabSize) {
                throw new Refusal("The text has the token " + token
                        + ", which this program does not know: its tokenizer does not fit.");
            }
        }
    }

    /** Notes that the engine begins with it. */
    synchronized void begin() {
        startedNanos = System.nanoTime();
    }

    @Override
    public synchronized boolean onToken(long id) {
        if (ids.isEmpty()) firstTokenNanos = System.nanoTime();
        ids.add(id);
        if (runningWidth != 0) widths.add(runningWidth);
        return !stopped;
    }

    /** Asks for another width for the tokens that follow; 0 asks for the widest. */
    synchronized void setWidth(long asked) throws Refusal {
        wantedWidth = program.manifest.widths.chosen(asked);
    }

    /** The width for what is computed next, which the stats will tell. Of an ordinary program it is 0. */
    synchronized long nextWidth() {
        runningWidth = wantedWidth;
        return runningWidth;
    }

    void stop() {
        stopped = true;
    }

    boolean isStopped() {
        return stopped;
    }

    synchronized List<Long> ids() {
        return new ArrayList<Long>(ids);
    }

    /** Ids that no event has told yet. */
    synchronized List<Long> takeUnsent() {
        List<Long> unsent = new ArrayList<Long>(ids.subList(sent, ids.size()));
        sent = ids.size();
        return unsent;
    }

    /** Whether there are ids that the conversation's file has not. */
    synchronized boolean isUnsaved() {
        return conversation != null && saved < ids.size();
    }

    synchronized void markSaved(int count) {
        saved = count;
    }

    /** Figures for the page, from what the native side tells. */
    synchronized JsonObject stats(JsonObject told) throws IOException {
        long generated = told.whole("generated_tokens");
        long fed = told.whole("prompt_tokens"); // not all where it was stopped before
        long prompt = told.whole("reused_tokens") + fed;
        String end = told.text("end");
        JsonObject memory = JsonReader.parseObject(Native.memory());
        return new JsonObject()
                .put("prompt_tokens", prompt)
                .put("reused_tokens", told.whole("reused_tokens"))
                .put("generated_tokens", generated)
                .put("prefill_tokens_per_second", rate(fed, told.number("prefill_seconds")))
                // The first token comes from the prefill.
                .put("decode_tokens_per_second", rate(generated - 1, told.number("decode_seconds")))
                .put("first_token_ms", ids.isEmpty() ? null : (firstTokenNanos - startedNanos) / 1e6)
                .put("widths", widths.describe())
                .put("resident_bytes", memory.whole("resident_bytes"))
                .put("context_used", prompt + generated)
                .put("context_size", program.manifest.maxSeqLen)
                .put("end", end.equals("listener") ? "stopped" : end);
    }

    private static Double rate(long tokens, double seconds) {
        return tokens > 0 && seconds > 0 ? tokens / seconds : null;
    }
}
