package org.lowbit.demo.core;

import java.io.IOException;
import java.util.List;
import java.util.concurrent.Callable;

/** One comparison while it runs, on a thread of its own; every step waits for the engine. */
final class Comparison {
    /** Batteries and cases are below it in use; where the system tells nothing of throttling, it is taken for that. */
    private static final double TOO_WARM_CELSIUS = 45;

    final long run;
    private final ComparePlan plan;
    private final LatencyReport report;
    private final Engine engine;
    private final Sessions sessions;
    private final Circumstances circumstances;
    private final Events events;
    private volatile String stopped = "";

    Comparison(long run, ComparePlan plan, LatencyReport report, Engine engine, Sessions sessions,
            Circumstances circumstances, Events events) {
        this.run = run;
        this.plan = plan;
        this.report = report;
        this.engine = engine;
        this.sessions = sessions;
        this.circumstances = circumstances;
        this.events = events;
    }

    /** Ends it after the step that runs now. */
    void stop(String reason) {
        stopped = reason;
    }

    /** Measures, and returns the event that tells the end; whoever calls sends it when the app is free again. */
    End measureAll() {
        try {
            measure();
            report.end(stopped);
            return new End("compare.done", event().put("report", report.content()));
        } catch (IOException error) {
            return new End("compare.failed", event().put("error", Words.sentence(error)));
        } catch (RuntimeException error) {
            String sentence = "The comparison ended by a fault of the app: " + error + ".";
            return new End("compare.failed", event().put("error", sentence));
        }
    }

    /** The last event of a comparison. */
    static final class End {
        final String name;
        final JsonObject content;

        End(String name, JsonObject content) {
            this.name = name;
            this.content = content;
        }
    }

    /** Why nothing can be measured on the device now; empty if it can. */
    static String heat(DeviceReadings now) {
        if (now.throttling != null) {
            return now.throttling ? "the device became too warm and slowed down (throttling)" : "";
        }
        boolean isWarm = now.temperatureCelsius != null && now.temperatureCelsius >= TOO_WARM_CELSIUS;
        return isWarm ? "the device became too warm (" + now.temperatureCelsius + " \u00b0C)" : "";
    }

    private void measure() throws IOException {
        List<ComparePlan.Step> steps = plan.steps();
        double scale = 1;
        double took = 0;
        for (int i = 0; i < steps.size() && stopped.isEmpty(); ++i) {
            ComparePlan.Step step = steps.get(i);
            progress(step, i, steps.size(), scale * plan.seconds(steps.subList(i, steps.size())));
            long started = System.nanoTime();
            take(step);
            took += (System.nanoTime() - started) / 1e9;
            scale = took / plan.seconds(steps.subList(0, i + 1));
        }
    }

    /** Runs one step. What was measured while the device slowed down is not kept. */
    private void take(final ComparePlan.Step step) throws IOException {
        int index = plan.programs.indexOf(step.program);
        if (report.hasFailed(index)) return;
        JsonObject told;
        try {
            told = engine.run(new Callable<JsonObject>() {
                @Override
                public JsonObject call() throws IOException {
                    return benchmark(step);
                }
            });
        } catch (IOException error) {
            report.fail(index, error.getMessage());
            return;
        }
        String heat = heat(circumstances.readings());
        if (!heat.isEmpty()) stopped = heat;
        if (!step.warmUp && stopped.isEmpty()) report.add(index, step, told);
    }

    private JsonObject benchmark(ComparePlan.Step step) throws IOException {
        List<Long> prompts = plan.prompts(step.program);
        List<Long> contexts = plan.contexts(step.program);
        if (prompts.isEmpty() || contexts.isEmpty()) {
            throw new IOException("its KV cache holds " + step.program.manifest.maxSeqLen
                    + " positions, fewer than anything asked for");
        }
        return sessions.benchmark(step.program, array(prompts), array(contexts), plan.generated, step.threads);
    }

    private void progress(ComparePlan.Step step, int done, int total, double secondsLeft) {
        String what = step.warmUp ? "warm-up" : "round " + (step.round + 1) + " of " + plan.rounds;
        String line = plan.names.name(step.program) + ": " + what + ", " + Words.count(step.threads, "thread");
        events.send("compare.progress", event()
                .put("done", (long) done)
                .put("total", (long) total)
                .put("line", line)
                .put("seconds_left", secondsLeft)
                .put("report", report.content()));
    }

    private JsonObject event() {
        return new JsonObject().put("run", run);
    }

    private static long[] array(List<Long> values) {
        long[] array = new long[values.size()];
        for (int i = 0; i < array.length; ++i) array[i] = values.get(i);
        return array;
    }
}
