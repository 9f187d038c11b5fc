package org.lowbit.demo.core;

import java.io.File;
import java.io.IOException;
import java.util.Arrays;
import java.util.List;

/** Starts comparisons, one at a time, and keeps the report of the last. */
final class Comparisons {
    static final String FOLDER = "report";

    private final File folder;
    private final Engine engine;
    private final Sessions sessions;
    private final ProgramStore store;
    private final Circumstances circumstances;
    private final Platform platform;
    private final Events events;
    private Comparison current;
    private long runs;

    Comparisons(File data, Engine engine, Sessions sessions, ProgramStore store, Circumstances circumstances,
            Platform platform, Events events) throws IOException {
        folder = DataFiles.folder(data, FOLDER);
        this.engine = engine;
        this.sessions = sessions;
        this.store = store;
        this.circumstances = circumstances;
        this.platform = platform;
        this.events = events;
    }

    JsonObject answer(String call, JsonObject asked) throws IOException {
        if (call.equals("compare.plan")) return plan(asked).describe();
        if (call.equals("compare.start")) return new JsonObject().put("run", start(asked));
        if (call.equals("compare.stop")) {
            stop("it was stopped by hand");
            return new JsonObject();
        }
        if (call.equals("compare.last")) return last();
        throw Refusal.unknownCall(call);
    }

    /** Nothing else may run or read storage beside a measurement. */
    synchronized void refuseIfRunning() throws Refusal {
        if (current != null) throw new Refusal("A comparison is running: stop it, or wait for its end.");
    }

    synchronized void stop(String reason) {
        if (current != null) current.stop(reason);
    }

    /** Writes the page's picture beside the last report and returns both files. */
    List<File> writeReport(String html) throws IOException {
        File report = reportFile();
        if (!report.exists()) throw new Refusal("There is no report yet: run a comparison first.");
        File page = new File(folder, "report.html");
        DataFiles.write(page, html);
        return Arrays.asList(report, page);
    }

    private synchronized long start(JsonObject asked) throws IOException {
        refuseIfRunning();
        String heat = Comparison.heat(circumstances.readings());
        if (!heat.isEmpty()) throw new Refusal("Nothing can be measured now, because " + heat + ": let it cool.");
        ComparePlan plan = plan(asked);
        LatencyReport report = new LatencyReport(reportFile(), plan, circumstances);
        final Comparison comparison =
                new Comparison(++runs, plan, report, engine, sessions, circumstances, events);
        current = comparison;
        Engine.named("compare").newThread(new Runnable() {
            @Override
            public void run() {
                platform.keepAwake(true);
                Comparison.End end = comparison.measureAll();
                platform.keepAwake(false);
                end();
                events.send(end.name, end.content);
            }
        }).start();
        return comparison.run;
    }

    private synchronized void end() {
        current = null;
    }

    private synchronized JsonObject last() throws IOException {
        return new JsonObject()
                .put("report", LatencyReport.read(reportFile()))
                .put("run", current == null ? null : current.run);
    }

    private ComparePlan plan(JsonObject asked) throws IOException {
        return new ComparePlan(asked, store, circumstances.fastCores());
    }

    private File reportFile() {
        return new File(folder, "report.json");
    }
}
