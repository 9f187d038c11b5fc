package org.lowbit.demo.core;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** What a comparison will do: the programs, at which lengths and threads, and in which order. */
final class ComparePlan {
    private static final long MOST_ROUNDS = 1000;
    private static final String OPPONENT = "xnnpack-8da4w";
    // A guess for one core of a middling phone; once something was measured, the guess is scaled by what that took.
    private static final double BYTES_PER_SECOND = 5e9;
    private static final double OPERATIONS_PER_SECOND = 2e10;
    private static final double SECONDS_TO_LOAD = 0.1;

    /** One program run once; of a warm-up nothing is kept. */
    static final class Step {
        final Program program;
        final long round;
        final long threads;
        final boolean warmUp;

        Step(Program program, long round, long threads, boolean warmUp) {
            this.program = program;
            this.round = round;
            this.threads = threads;
            this.warmUp = warmUp;
        }
    }

    final List<Program> programs;
    final ReportNames names;
    final long rounds;
    final long generated;
    final List<Long> prompts;
    final List<Long> contexts;
    final List<Long> threads;
    private final List<Program> opponents;
    private final Set<String> notes = new LinkedHashSet<String>();

    /** Reads a request of the page; what it leaves out gets a default. */
    ComparePlan(JsonObject asked, ProgramStore store, int fastCores) throws IOException {
        programs = chosen(asked, store);
        opponents = opponents(store);
        programs.addAll(opponents);
        names = new ReportNames(programs);
        rounds = asked.lacks("rounds") ? 3 : asked.atLeast(1, "rounds");
        generated = asked.lacks("generate") ? 32 : asked.atLeast(1, "generate");
        prompts = counts(asked, "prompt_tokens", 128);
        contexts = counts(asked, "contexts", 256);
        // Big and little cores: the system puts as many threads as there are fast cores on these.
        threads = fastCores == 1 ? counts(asked, "threads", 1) : counts(asked, "threads", fastCores, 1);
        if (rounds > MOST_ROUNDS) throw new Refusal("rounds must lie in 1.." + MOST_ROUNDS + ".");
        if (Collections.max(threads) > Settings.MOST_THREADS) {
            throw new Refusal("threads must lie in 1.." + Settings.MOST_THREADS + ".");
        }
        for (Program program : programs) {
            if (prompts(program).size() < prompts.size() || contexts(program).size() < contexts.size()) {
                notes.add(names.name(program) + ": " + noteOnPositions(program) + ".");
            }
        }
    }

    /** All steps: every program once to warm up, then rounds in which the programs of a model take turns. */
    List<Step> steps() {
        List<Step> steps = new ArrayList<Step>();
        for (Program program : programs) steps.add(new Step(program, 0, threads.get(0), true));
        for (long round = 0; round < rounds; ++round) {
            for (long count : threads) {
                for (List<Program> group : names.groups()) {
                    // The order rotates, so that no program always follows the same one.
                    List<Program> turn = new ArrayList<Program>(group);
                    Collections.rotate(turn, -(int) (round % turn.size()));
                    for (Program program : turn) steps.add(new Step(program, round, count, false));
                }
            }
        }
        return steps;
    }

    /** A guess of the seconds that steps take. */
    double seconds(List<Step> steps) {
        double seconds = 0;
        for (Step step : steps) {
            Manifest manifest = step.program.manifest;
            double fed = 0;
            for (long prompt : prompts(step.program)) fed += prompt;
            for (long context : contexts(step.program)) fed += context;
            double decoded = generated * (double) contexts(step.program).size();
            seconds += SECONDS_TO_LOAD
                    + (fed * 2 * manifest.parameters / OPERATIONS_PER_SECOND
                            + decoded * manifest.plannedBytes() / BYTES_PER_SECOND) / Math.sqrt(step.threads);
        }
        return seconds;
    }

    /** The prompts that fit a program's KV cache. */
    List<Long> prompts(Program program) {
        return within(prompts, program.manifest.maxSeqLen);
    }

    /** The contexts that fit it with the tokens that are generated behind them. */
    List<Long> contexts(Program program) {
        return within(contexts, program.manifest.maxSeqLen - generated);
    }

    /** Note on what does not fit, in the words of edge/latency/candidate.py; empty where everything does. */
    String noteOnPositions(Program program) {
        if (prompts(program).equals(prompts) && contexts(program).equals(contexts)) return "";
        return "its KV cache holds " + program.manifest.maxSeqLen + " positions; what needs more was not measured";
    }

    /** For the page, before it starts. */
    JsonObject describe() {
        List<String> ids = new ArrayList<String>();
        for (Program opponent : opponents) ids.add(opponent.id);
        List<Step> steps = steps();
        return new JsonObject()
                .put("seconds", seconds(steps))
                .put("steps", (long) steps.size())
                .put("opponents", ids)
                .put("notes", notes);
    }

    /** Settings of edge/latency/schema.py. */
    JsonObject settings() {
        return new JsonObject()
                .put("threads", threads)
                .put("prompts", prompts)
                .put("contexts", contexts)
                .put("generated", generated)
                .put("rounds", rounds);
    }

    private static List<Program> chosen(JsonObject asked, ProgramStore store) throws IOException {
        Set<String> ids = new LinkedHashSet<String>(asked.texts("models"));
        if (ids.isEmpty()) throw new Refusal("Choose at least one program to compare.");
        List<Program> programs = new ArrayList<Program>();
        for (String id : ids) programs.add(store.findUsable(id));
        return programs;
    }

    /** XNNPACK's 4-bit program of each shape, where it is on the device and was not chosen. */
    private List<Program> opponents(ProgramStore store) {
        Map<String, Program> found = new LinkedHashMap<String, Program>(); // by the shape
        for (Program program : store.list()) {
            boolean isOne = program.manifest.recipe.equals(OPPONENT) && store.refusal(program) == null;
            if (isOne) found.put(ReportNames.shape(program.manifest), program);
        }
        Map<String, Program> missing = new LinkedHashMap<String, Program>();
        for (Program program : programs) {
            String shape = ReportNames.shape(program.manifest);
            if (found.containsKey(shape)) {
                missing.put(shape, found.get(shape));
            } else {
                String model = program.manifest.model;
                notes.add("Of " + model + " there is no " + OPPONENT + " program on the device to compare with.");
            }
        }
        for (Program program : programs) {
            if (program.manifest.recipe.equals(OPPONENT)) missing.remove(ReportNames.shape(program.manifest));
        }
        return new ArrayList<Program>(missing.values());
    }

    private static List<Long> counts(JsonObject asked, String name, long... defaults) throws IOException {
        Set<Long> counts = new LinkedHashSet<Long>();
        for (long count : asked.lacks(name) ? defaults : asked.wholes(name)) {
            if (count < 1) throw new Refusal(name + " must be at least 1, not " + count + ".");
            counts.add(count);
        }
        if (counts.isEmpty()) throw new Refusal(name + " must name at least one.");
        return new ArrayList<Long>(counts);
    }

    private static List<Long> within(List<Long> lengths, long most) {
        List<Long> fitting = new ArrayList<Long>();
        for (long length : lengths) {
            if (length <= most) fitting.add(length);
        }
        return fitting;
    }
}
