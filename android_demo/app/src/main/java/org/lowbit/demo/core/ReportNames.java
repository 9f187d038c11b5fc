package org.lowbit.demo.core;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Names of a report's programs, as edge/latency/gather.py gives them: one shape a model, and no name twice. */
final class ReportNames {
    /** Members of a model's config that speed does not depend on. */
    private static final List<String> NO_SHAPE =
            Arrays.asList("max_seq_len", "bos_id", "eos_ids", "rope_scaling", "rope_theta");

    private final Map<String, String> models = new HashMap<String, String>(); // by the program's id
    private final Map<String, String> labels = new HashMap<String, String>();
    private final Map<String, List<Program>> groups = new LinkedHashMap<String, List<Program>>(); // by the model's name

    ReportNames(List<Program> programs) throws IOException {
        Map<String, String> shapes = new HashMap<String, String>();
        for (Program program : programs) {
            String shape = shape(program.manifest);
            String model = program.manifest.model;
            if (shapes.containsKey(model) && !shapes.get(model).equals(shape)) model = withSize(program.manifest);
            shapes.put(model, shape);
            models.put(program.id, model);
            if (!groups.containsKey(model)) groups.put(model, new ArrayList<Program>());
            groups.get(model).add(program);
        }
        for (Program program : programs) labels.put(program.id, labelAmong(program, groups.get(model(program))));
    }

    String model(Program program) {
        return models.get(program.id);
    }

    String label(Program program) {
        return labels.get(program.id);
    }

    String name(Program program) {
        return model(program) + " " + label(program);
    }

    /** The programs of each model. */
    Iterable<List<Program>> groups() {
        return groups.values();
    }

    static String shape(Manifest manifest) {
        JsonObject shape = new JsonObject().putAll(manifest.config);
        for (String name : NO_SHAPE) shape.remove(name);
        return JsonText.sorted(shape);
    }

    private static String withSize(Manifest manifest) throws IOException {
        JsonObject config = manifest.config;
        return manifest.model + " (" + config.whole("dim") + " wide, " + config.whole("n_layers") + " layers)";
    }

    private static String labelAmong(Program program, List<Program> group) throws IOException {
        String label = program.manifest.label();
        for (Program other : group) {
            if (other != program && other.manifest.label().equals(label)) return label + " (" + program.id + ")";
        }
        return label;
    }
}
