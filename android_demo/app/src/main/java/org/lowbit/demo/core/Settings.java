package org.lowbit.demo.core;

import java.io.File;
import java.io.IOException;
import java.util.Arrays;
import java.util.List;

/** The user's settings: one file, each value checked. */
final class Settings {
    private static final List<String> THEMES = Arrays.asList("system", "light", "dark");
    static final long MOST_THREADS = 256;

    private final File file;
    private JsonObject values;

    Settings(File data) {
        file = new File(data, "settings.json");
        values = defaults();
        try {
            values = checked(JsonReader.parseObject(DataFiles.read(file)));
        } catch (IOException error) {
            values = defaults(); // none yet, or not readable: nothing of worth is lost
        }
    }

    synchronized JsonObject get() {
        return new JsonObject().putAll(values);
    }

    /** Changes the settings that are given and keeps the others. */
    synchronized JsonObject set(JsonObject changes) throws IOException {
        values = checked(changes);
        DataFiles.write(file, values.toString());
        return get();
    }

    private static JsonObject defaults() {
        return new JsonObject()
                .put("model", null)
                .put("temperature", 0.8)
                .put("top_p", 0.95)
                .put("top_k", 0L)
                .put("seed", 1L)
                .put("max_new_tokens", 200L)
                .put("threads", 0L)
                .put("width", 0L)
                .put("side_by_side", null)
                .put("theme", "system");
    }

    private JsonObject checked(JsonObject changes) throws IOException {
        JsonObject merged = get();
        for (String name : changes.members().keySet()) {
            if (!merged.has(name)) throw new Refusal("There is no setting " + name + ".");
            merged.put(name, changes.get(name));
        }
        merged.textOrNull("model");
        merged.textOrNull("side_by_side");
        new Sampling(merged);
        if (merged.atLeast(0, "threads") > MOST_THREADS) {
            throw new Refusal("threads must lie in 0.." + MOST_THREADS + ".");
        }
        Widths.checkSetting(merged.whole("width"));
        if (!THEMES.contains(merged.text("theme"))) throw new Refusal("theme must be one of " + THEMES + ".");
        return merged;
    }
}
