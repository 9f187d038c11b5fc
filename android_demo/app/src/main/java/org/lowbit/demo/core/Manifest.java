package org.lowbit.demo.core;

import java.io.IOException;
import java.math.BigDecimal;
import java.math.MathContext;
import java.util.ArrayList;
import java.util.List;

/** The manifest that export writes beside a program, as far as the app needs it; see edge/runtime/manifest.py. */
final class Manifest {
    static final String NAME = "manifest.json";
    private static final long VERSION = 5;
    /** The exporter's recipe for programs of our own low-bit ops. */
    private static final String OWN_RECIPE = "lowbit";

    final String model;
    final String weights;
    final String recipe;
    /** Bits of a weight; of an elastic program those of its widest slice. */
    final double bits;
    final Widths widths;
    final long parameters;
    final long maxSeqLen;
    final String kvCache;
    final long kvCacheBytes;
    final FileRecord program;
    final FileRecord tokenizer;
    final FileRecord chatTemplate;
    final JsonObject markers;
    final JsonObject config;
    final long vocabSize;
    /** Positions that some layers see, 0 where all see all; the KV cache forgets what lies behind them. */
    final long window;
    final String checksum;
    private final JsonObject content;

    private Manifest(JsonObject content) throws IOException {
        this.content = content;
        model = content.text("model");
        weights = content.text("weights");
        recipe = content.text("recipe");
        bits = content.number("bits");
        widths = new Widths(content.text("format"));
        parameters = content.atLeast(1, "parameters");
        maxSeqLen = content.atLeast(1, "max_seq_len");
        kvCache = content.text("kv_cache");
        kvCacheBytes = content.atLeast(0, "kv_cache_bytes");
        program = FileRecord.read(content.object("program"));
        tokenizer = FileRecord.read(content.objectOrNull("tokenizer"));
        chatTemplate = FileRecord.read(content.objectOrNull("chat_template"));
        markers = content.object("markers");
        config = content.object("config");
        vocabSize = config.atLeast(1, "vocab_size");
        window = config.atLeast(0, "window");
        checksum = content.text("checksum");
    }

    /**
     * Reads a manifest and checks its version and its own checksum.
     *
     * @throws Refusal it is not one, of another version, or was edited
     */
    static Manifest read(String text) throws Refusal {
        try {
            JsonObject content = JsonReader.parseObject(text);
            long version = content.whole("schema_version");
            if (version != VERSION) {
                throw new Refusal(NAME + " is of version " + version + " and this app reads version " + VERSION
                        + ": export the program again with the edge-lowbit of the app.");
            }
            Manifest manifest = new Manifest(content);
            if (!manifest.checksum.equals(checksum(content))) {
                throw new Refusal(
                        NAME + " was altered after its export (its checksum differs): export the program again.");
            }
            return manifest;
        } catch (Refusal refusal) {
            throw refusal;
        } catch (IOException error) {
            String reason = error.getMessage();
            throw new Refusal(
                    NAME + " is no manifest of an export (" + reason + "): choose the one beside the program.", error);
        }
    }

    /** SHA-256 of everything but the checksum, as edge/runtime/manifest.py writes it. */
    private static String checksum(JsonObject content) throws IOException {
        JsonObject rest = new JsonObject().putAll(content).remove("checksum");
        return DataFiles.sha256(JsonText.sorted(rest));
    }

    /** Every file of the export but the manifest. */
    List<FileRecord> files() {
        List<FileRecord> files = new ArrayList<FileRecord>();
        files.add(program);
        if (tokenizer != null) files.add(tokenizer);
        if (chatTemplate != null) files.add(chatTemplate);
        return files;
    }

    boolean isOwn() {
        return OWN_RECIPE.equals(recipe);
    }

    /** Format of the linears: ours by its name, others by their recipe. */
    String format() throws IOException {
        return isOwn() ? content.text("format") : recipe;
    }

    /** Layers whose width can be chosen: all of an elastic program, and none of others. */
    long elasticLayers() throws IOException {
        return widths.areElastic() ? config.whole("n_layers") : 0;
    }

    /** Memory that the program takes with a full KV cache: its mapped file and the cache. Activations come on top. */
    long plannedBytes() {
        return program.bytes + kvCacheBytes;
    }

    /** Bytes of the head's table, which may be the embedding's; null where another runtime holds it. */
    Long headBytes() throws IOException {
        JsonObject parts = content.object("part_bytes");
        long bytes = parts.whole("head") > 0 ? parts.whole("head") : parts.whole("embedding");
        return bytes > 0 ? bytes : null;
    }

    /** What tells the program from others of its model, as edge/latency/gather.py names it. */
    String label() throws IOException {
        StringBuilder label = new StringBuilder(recipe);
        if (isOwn()) {
            label = new StringBuilder(width()).append(bits == 1 ? " bit" : " bits");
            if (!content.object("formats").members().isEmpty()) label.append(" mixed");
            if (widths.areElastic()) label.append(" ").append(Widths.ELASTIC);
        }
        long embedding = content.whole("embedding_bits");
        long head = content.whole("head_bits");
        if (!"fp32".equals(kvCache)) label.append(", ").append(kvCache).append(" cache");
        if (embedding != 8) label.append(", ").append(embedding).append("-bit embedding");
        if (head != embedding) label.append(", ").append(head).append("-bit head");
        return label.toString();
    }

    /** Bits of a weight in at most six digits, such as 1.58. */
    String width() {
        return new BigDecimal(bits).round(new MathContext(6)).stripTrailingZeros().toPlainString();
    }

    /** Stored bits per weight of the linears; null where the file does not tell. */
    Object linearBitsPerWeight() {
        return content.get("linear_bits_per_weight");
    }

    /** Perplexity that the exporter measured of the program on its own short text; null for random weights. */
    JsonObject quality() throws IOException {
        if ("random".equals(weights)) return null;
        JsonObject proof = content.object("verification");
        long predicted = proof.whole("tokens") - 1;
        return new JsonObject()
                .put("text", proof.text("text"))
                .put("tokens", predicted)
                .put("block", predicted)
                .put("perplexity", proof.number("perplexity_program"));
    }
}
