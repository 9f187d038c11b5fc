package org.lowbit.demo.core;

import java.io.File;
import java.io.IOException;

/** A program in the app's own storage: a folder with the files of its export. */
final class Program {
    final String id;
    final Manifest manifest;
    /** Whether it came with the app. */
    final boolean embedded;
    private final File folder;

    Program(File folder, Manifest manifest, boolean embedded) {
        this.id = folder.getName();
        this.folder = folder;
        this.manifest = manifest;
        this.embedded = embedded;
    }

    /** A name for the folder that tells the program from every other: model, width, and the start of its checksum. */
    static String idOf(Manifest manifest) {
        String kind = manifest.isOwn() ? width(manifest) : manifest.recipe;
        String words = manifest.model + "-" + kind;
        String plain = words.replaceAll("[^A-Za-z0-9.]+", "-").replaceAll("^[.-]+", "");
        return plain + "-" + manifest.checksum.substring(0, 8);
    }

    private static String width(Manifest manifest) {
        return manifest.widths.areElastic() ? Widths.ELASTIC : manifest.width() + "bit";
    }

    File file(FileRecord record) {
        return new File(folder, record.name);
    }

    String path() {
        return file(manifest.program).getPath();
    }

    /** One of the files that the manifest lists, by its name. */
    File listed(String name) throws IOException {
        for (FileRecord record : manifest.files()) {
            if (record.name.equals(name)) return file(record);
        }
        throw new Refusal("The program " + id + " has no file " + name + ".");
    }

    /** What the page shows of it. */
    JsonObject describe(String refusal) throws IOException {
        JsonObject quality = manifest.quality();
        return new JsonObject()
                .put("id", id)
                .put("model", manifest.model)
                .put("label", manifest.label())
                .put("bits", manifest.bits)
                .put("widths", manifest.widths.held)
                .put("format", manifest.format())
                .put("recipe", manifest.recipe)
                .put("weights", manifest.weights)
                .put("file_bytes", manifest.program.bytes)
                .put("planned_bytes", manifest.plannedBytes())
                .put("max_seq_len", manifest.maxSeqLen)
                .put("vocab_size", manifest.vocabSize)
                .put("bos_id", manifest.config.whole("bos_id"))
                .put("eos_ids", manifest.config.list("eos_ids"))
                .put("kv_cache", manifest.kvCache)
                .put("perplexity", quality == null ? null : quality.number("perplexity"))
                .put("embedded", embedded)
                .put("tokenizer", nameOf(manifest.tokenizer))
                .put("chat_template", nameOf(manifest.chatTemplate))
                .put("markers", manifest.markers)
                .put("refusal", refusal);
    }

    /** Why a device of so much memory cannot load it, from the manifest alone; null if it can. */
    static String memoryRefusal(Manifest manifest, long memoryBytes) {
        if (manifest.plannedBytes() <= memoryBytes) return null;
        return "This program needs at least " + Words.bytes(manifest.plannedBytes()) + " of memory and the device has "
                + Words.bytes(memoryBytes) + ": export it with fewer bits or a shorter --max-seq-len.";
    }

    private static String nameOf(FileRecord record) {
        return record == null ? null : record.name;
    }
}
