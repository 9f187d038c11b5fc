package org.lowbit.demo.core;

import java.io.File;
import java.io.IOException;
import java.text.SimpleDateFormat;
import java.util.ArrayList;
import java.util.Date;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TimeZone;

/**
 * A latency report in the schema of edge/latency/schema.py: every sample, saved at once, and nothing derived. One
 * thread uses it.
 */
final class LatencyReport {
    private final File file;
    private final Circumstances circumstances;
    private final JsonObject content;
    private final List<JsonObject> programs = new ArrayList<JsonObject>();

    LatencyReport(File file, ComparePlan plan, Circumstances circumstances) throws IOException {
        this.file = file;
        this.circumstances = circumstances;
        for (Program program : plan.programs) programs.add(record(program, plan));
        SimpleDateFormat utc = new SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss'+00:00'", Locale.ROOT);
        utc.setTimeZone(TimeZone.getTimeZone("UTC"));
        content = new JsonObject()
                .put("schema_version", 1L)
                .put("started", utc.format(new Date()))
                .put("finished", false)
                .put("stopped", "")
                .put("versions", new JsonObject().put("app", String.valueOf(circumstances.readings().version)))
                .put("device", circumstances.record())
                .put("settings", plan.settings())
                .put("programs", programs);
    }

    /** The last report that was saved in a file; null if there is none. */
    static JsonObject read(File file) throws IOException {
        return file.exists() ? JsonReader.parseObject(DataFiles.read(file)) : null;
    }

    JsonObject content() {
        return content;
    }

    /** Adds a run from the JSON of {@link Native#benchmark}. */
    void add(int program, ComparePlan.Step step, JsonObject told) throws IOException {
        DeviceReadings now = circumstances.readings();
        JsonObject run = new JsonObject()
                .put("round", step.round)
                .put("threads", step.threads)
                .put("kernel", told.textOrNull("kernel"))
                .put("load_ms", told.number("load_ms"))
                .put("first_token_ms", told.number("time_to_first_token_ms"))
                .put("prefill", prefill(told.object("prefill_tokens_per_second")))
                .put("decode", decode(told.object("decode")))
                // The process is the app's: its peak is of all programs before and of the page, not of this one.
                .put("peak_resident_bytes", null)
                .put("khz", circumstances.currentKhz())
                .put("temperature_c", now.temperatureCelsius)
                .put("battery_percent", now.batteryPercent)
                .put("charging", now.charging);
        runs(program).add(run);
        save();
    }

    void fail(int program, String reason) throws IOException {
        programs.get(program).put("failure", reason);
        save();
    }

    boolean hasFailed(int program) {
        return programs.get(program).get("failure") != null;
    }

    /** Ends it: {@code stopped} says why before its end, and is empty where everything was measured. */
    void end(String stopped) throws IOException {
        boolean isAnyWhole = false;
        for (int i = 0; i < programs.size(); ++i) isAnyWhole |= !hasFailed(i);
        content.put("stopped", stopped).put("finished", stopped.isEmpty() && isAnyWhole);
        save();
    }

    private void save() throws IOException {
        DataFiles.write(file, content + "\n");
    }

    @SuppressWarnings("unchecked") // this class put the list there
    private List<JsonObject> runs(int program) {
        return (List<JsonObject>) programs.get(program).get("runs");
    }

    private static JsonObject record(Program program, ComparePlan plan) throws IOException {
        Manifest manifest = program.manifest;
        return new JsonObject()
                .put("name", plan.names.name(program))
                .put("model", plan.names.model(program))
                .put("label", plan.names.label(program))
                .put("recipe", manifest.recipe)
                .put("format", manifest.format())
                .put("bits", manifest.bits)
                .put("weights", manifest.weights)
                .put("parameters", manifest.parameters)
                .put("config", manifest.config)
                .put("head_bytes", manifest.headBytes())
                .put("file_bytes", manifest.program.bytes)
                .put("sha256", manifest.program.sha256)
                .put("linear_bits_per_weight", manifest.linearBitsPerWeight())
                .put("kv_cache", manifest.kvCache)
                .put("kv_bytes_per_position", manifest.kvCacheBytes / manifest.maxSeqLen)
                .put("quality", manifest.quality())
                .put("note", plan.noteOnPositions(program))
                .put("verified", "by its exporter; on the device its file, by its hash")
                .put("failure", null)
                .put("runs", new ArrayList<JsonObject>());
    }

    private static JsonObject prefill(JsonObject told) throws IOException {
        JsonObject rates = new JsonObject();
        for (Map.Entry<String, Object> length : told.members().entrySet()) {
            rates.put(length.getKey(), first(told, length.getKey()));
        }
        return rates;
    }

    private static JsonObject decode(JsonObject told) throws IOException {
        JsonObject samples = new JsonObject();
        for (String context : told.members().keySet()) {
            JsonObject figures = told.object(context);
            samples.put(context, new JsonObject()
                    .put("tokens_per_second", first(figures, "tokens_per_second"))
                    .put("ms_p50", first(figures, "ms_per_token_p50"))
                    .put("ms_p90", first(figures, "ms_per_token_p90")));
        }
        return samples;
    }

    /** The figure of the only run. */
    private static Object first(JsonObject told, String name) throws IOException {
        return told.list(name).get(0);
    }
}
