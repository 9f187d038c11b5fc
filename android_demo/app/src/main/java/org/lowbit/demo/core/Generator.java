package org.lowbit.demo.core;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/** Generates answers, one at a time: runs them on the engine, tells the page their tokens, keeps what exists. */
final class Generator {
    private static final long SEND_MS = 40;
    private static final long SAVE_MS = 500;

    private final Engine engine;
    private final Sessions sessions;
    private final Conversations conversations;
    private final Events events;
    private final ScheduledExecutorService clock = Executors.newSingleThreadScheduledExecutor(Engine.named("clock"));
    private final List<Future<?>> ticking = new ArrayList<Future<?>>();
    private final Object saving = new Object();
    private Generation current;
    private long runs;

    Generator(Engine engine, Sessions sessions, Conversations conversations, Events events) {
        this.engine = engine;
        this.sessions = sessions;
        this.conversations = conversations;
        this.events = events;
    }

    /** Starts an answer and returns the number of its run. */
    synchronized long start(Program program, int threads, JsonObject request) throws IOException {
        if (current != null) throw new Refusal("An answer is being generated: stop it first.");
        final Generation generation = new Generation(++runs, program, threads, request);
        current = generation;
        startClock(generation);
        engine.start(new Runnable() {
            @Override
            public void run() {
                generate(generation);
            }
        });
        return generation.run;
    }

    /** Stops a run within one token, or one piece of its prompt. One that has ended already is none to stop. */
    synchronized void stop(long run) {
        if (current != null && current.run == run) current.stop();
    }

    /** Asks for another width of a run's next tokens. For one that has ended, nothing changes. */
    synchronized void setWidth(long run, long width) throws Refusal {
        if (current != null && current.run == run) current.setWidth(width);
    }

    synchronized Generation current() {
        return current;
    }

    /** What a page that was loaded anew needs to take up the stream. */
    JsonObject describeCurrent() {
        Generation generation = current();
        if (generation == null) return new JsonObject().put("run", null);
        return new JsonObject()
                .put("run", generation.run)
                .put("ids", generation.ids())
                .put("model", generation.program.id)
                .put("conversation", generation.conversation)
                .put("turn", generation.turn);
    }

    /** Saves what exists of the current answer, before the system may end the process. */
    void saveNow() {
        Generation generation = current();
        if (generation != null) save(generation);
    }

    private void generate(Generation generation) {
        try {
            generation.begin();
            Session session = sessions.of(generation.program, generation.threads);
            JsonObject stats = generation.stats(session.generate(generation));
            finish(generation, stats, "done", "stats", stats);
        } catch (IOException error) {
            finish(generation, null, "failed", "error", Words.sentence(error));
        } catch (RuntimeException | Error error) { // such as a native library that is missing
            finish(generation, null, "failed", "error", "The answer ended by a fault of the app: " + error + ".");
        }
    }

    private void finish(Generation generation, JsonObject stats, String event, String name, Object value) {
        send(generation);
        String failure = null;
        try {
            write(generation, stats);
        } catch (IOException error) {
            failure = error.getMessage();
        }
        synchronized (this) {
            current = null;
            for (Future<?> each : ticking) each.cancel(false);
            ticking.clear();
        }
        events.send(event, new JsonObject().put("run", generation.run).put(name, value));
        if (failure != null) events.send("error", new JsonObject().put("error", failure));
    }

    private void send(Generation generation) {
        synchronized (generation) { // no two threads send at once, so tokens keep their order
            List<Long> ids = generation.takeUnsent();
            if (!ids.isEmpty()) events.send("token", new JsonObject().put("run", generation.run).put("ids", ids));
        }
    }

    /** A failure is not told here, several times a second, but at the answer's end. */
    private void save(Generation generation) {
        try {
            write(generation, null);
        } catch (IOException error) {
            return;
        }
    }

    /** Writes the answer into its conversation: a part of it as long as there are no stats. */
    private void write(Generation generation, JsonObject stats) throws IOException {
        if (generation.conversation == null) return;
        synchronized (saving) {
            List<Long> ids = generation.ids();
            if (!generation.isUnsaved() && stats == null) return; // the whole answer may be there already
            JsonObject answer = new JsonObject()
                    .put("model", generation.program.id)
                    .put("ids", ids)
                    .put("partial", stats == null);
            if (stats != null) answer.put("stats", stats);
            conversations.saveAnswer(generation.conversation, generation.turn, answer);
            generation.markSaved(ids.size());
        }
    }

    /** Sends and saves now and then, while there is an answer: a clock that always ticks would empty a battery. */
    private void startClock(final Generation generation) {
        every(SEND_MS, new Runnable() {
            @Override
            public void run() {
                send(generation);
            }
        });
        every(SAVE_MS, new Runnable() {
            @Override
            public void run() {
                save(generation);
            }
        });
    }

    private void every(long milliseconds, Runnable work) {
        ticking.add(clock.scheduleWithFixedDelay(work, milliseconds, milliseconds, TimeUnit.MILLISECONDS));
    }
}
