package org.lowbit.demo.core;

import java.io.File;
import java.io.FileNotFoundException;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.security.MessageDigest;
import java.util.concurrent.Callable;

/** Adds a program to the store: all of it, checked, or nothing. */
final class ProgramImport {
    /** A manifest of the largest models has about 100 kB. */
    private static final int MOST_MANIFEST_BYTES = 4 << 20;
    private static final long SPARE_BYTES = 1 << 20;

    private final Engine engine;
    private final long memoryBytes;

    ProgramImport(Engine engine, long memoryBytes) {
        this.engine = engine;
        this.memoryBytes = memoryBytes;
    }

    static Manifest readManifest(ProgramSource source) throws Refusal {
        return Manifest.read(manifestText(source));
    }

    /**
     * Copies a program into {@code parent}, under its id. What was copied is removed again if anything is wrong.
     *
     * @throws Refusal why nothing was added, in one sentence
     */
    void run(ProgramSource source, File parent) throws Refusal {
        String text = manifestText(source);
        Manifest manifest = Manifest.read(text);
        String refusal = Program.memoryRefusal(manifest, memoryBytes);
        if (refusal != null) throw new Refusal(refusal);
        File staged = new File(parent, ".adding");
        DataFiles.remove(staged);
        try {
            checkRoom(manifest, parent);
            if (!staged.mkdirs()) throw notWritten("its folder cannot be made", null);
            for (FileRecord record : manifest.files()) copy(source, record, new File(staged, record.name));
            DataFiles.write(new File(staged, Manifest.NAME), text);
            check(new Program(staged, manifest, false));
            File place = new File(parent, Program.idOf(manifest));
            if (!staged.renameTo(place)) throw notWritten("it cannot be put in its place", null);
        } finally {
            DataFiles.remove(staged);
        }
    }

    private static String manifestText(ProgramSource source) throws Refusal {
        try {
            InputStream in = source.open(Manifest.NAME);
            try {
                return DataFiles.read(in, MOST_MANIFEST_BYTES);
            } finally {
                in.close();
            }
        } catch (FileNotFoundException error) {
            throw new Refusal(
                    Manifest.NAME + " is missing: choose it together with the program and its tokenizer.", error);
        } catch (IOException error) {
            throw new Refusal(Manifest.NAME + " cannot be read: " + DataFiles.reason(error) + ".", error);
        }
    }

    private static void checkRoom(Manifest manifest, File parent) throws Refusal {
        long needed = SPARE_BYTES;
        for (FileRecord record : manifest.files()) needed += record.bytes;
        long free = parent.getUsableSpace();
        if (needed > free) {
            throw new Refusal("The program needs " + Words.bytes(needed) + " of storage and " + Words.bytes(free)
                    + " are free: make room and add it again.");
        }
    }

    private static void copy(ProgramSource source, FileRecord record, File target) throws Refusal {
        try {
            InputStream in = source.open(record.name);
            try {
                copy(in, record, target);
            } finally {
                in.close();
            }
        } catch (Refusal refusal) {
            throw refusal;
        } catch (FileNotFoundException error) {
            throw new Refusal(record.name + " is missing: choose it together with " + Manifest.NAME + ".", error);
        } catch (IOException error) {
            throw new Refusal(record.name + " cannot be read: " + DataFiles.reason(error) + ".", error);
        }
    }

    private static void copy(InputStream in, FileRecord record, File target) throws IOException {
        MessageDigest digest = DataFiles.sha256();
        byte[] buffer = new byte[1 << 16];
        long copied = 0;
        FileOutputStream out = open(target);
        try {
            for (int count; copied <= record.bytes && (count = in.read(buffer)) >= 0; copied += count) {
                digest.update(buffer, 0, count);
                write(out, buffer, count);
            }
            sync(out);
        } finally {
            out.close();
        }
        if (copied != record.bytes) {
            String found = copied > record.bytes ? "more bytes than" : copied + " bytes instead of";
            throw new Refusal(
                    record.name + " has " + found + " the " + record.bytes + " of its manifest: copy it again.");
        }
        if (!DataFiles.hex(digest).equals(record.sha256)) {
            throw new Refusal(
                    record.name + " was altered after its export (its hash differs): export the program again.");
        }
    }

    /** Checks what only the files themselves tell: the tokenizer's ids, and that the runtime can load the program. */
    private void check(final Program program) throws Refusal {
        final Manifest manifest = program.manifest;
        if (manifest.tokenizer != null) TokenizerFit.check(program.file(manifest.tokenizer), manifest.vocabSize);
        try {
            engine.run(new Callable<Void>() {
                @Override
                public Void call() throws IOException {
                    Session.open(program, 0).close(); // 0: the native pool stays as it is for other sessions
                    return null;
                }
            });
        } catch (Refusal refusal) {
            throw refusal;
        } catch (IOException error) {
            // What follows a semicolon is the cure for the runner's users.
            String reason = String.valueOf(error.getMessage()).split(";")[0];
            throw new Refusal(manifest.program.name + " cannot be run by this app (" + reason
                    + "): export it again with the edge-lowbit of the app.", error);
        }
    }

    // Writing fails for want of room, reading for other reasons, and the user needs to know which.

    private static FileOutputStream open(File target) throws Refusal {
        try {
            return new FileOutputStream(target);
        } catch (IOException error) {
            throw notWritten(DataFiles.reason(error), error);
        }
    }

    private static void write(FileOutputStream out, byte[] buffer, int count) throws Refusal {
        try {
            out.write(buffer, 0, count);
        } catch (IOException error) {
            throw notWritten(DataFiles.reason(error), error);
        }
    }

    private static void sync(FileOutputStream out) throws Refusal {
        try {
            out.getFD().sync();
        } catch (IOException error) {
            throw notWritten(DataFiles.reason(error), error);
        }
    }

    private static Refusal notWritten(String reason, IOException cause) {
        return new Refusal(
                "The program could not be stored (" + reason + "), and nothing was added: make room and add it again.",
                cause);
    }
}
