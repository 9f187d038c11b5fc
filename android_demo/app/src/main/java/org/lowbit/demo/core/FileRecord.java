package org.lowbit.demo.core;

import java.io.IOException;
import java.util.regex.Pattern;

/** A file of an export: its name in the folder, size and SHA-256, as the manifest lists it. */
final class FileRecord {
    private static final Pattern NAME = Pattern.compile("[^./\\x00-\\x1f\\x7f][^/\\x00-\\x1f\\x7f]{0,254}");
    private static final Pattern SHA256 = Pattern.compile("[0-9a-f]{64}");

    final String name;
    final long bytes;
    final String sha256;

    private FileRecord(JsonObject record) throws IOException {
        name = record.text("name");
        bytes = record.atLeast(0, "bytes");
        sha256 = record.text("sha256");
        if (!NAME.matcher(name).matches()) throw new IOException("a file's name may not be " + name);
        if (!SHA256.matcher(sha256).matches()) throw new IOException("the hash of " + name + " is none");
    }

    /** Reads a record; null for null. */
    static FileRecord read(JsonObject record) throws IOException {
        return record == null ? null : new FileRecord(record);
    }
}
