package org.lowbit.demo.core;

import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** The programs on the device: those that came with the app, and those that the user added. */
final class ProgramStore {
    private final File embedded;
    private final File added;
    private final long memoryBytes;
    private final ProgramImport importer;
    /** Ids of programs whose files this process has hashed. */
    private final Set<String> verified = new HashSet<String>();

    ProgramStore(File data, Engine engine, long memoryBytes) throws IOException {
        this.memoryBytes = memoryBytes;
        embedded = DataFiles.folder(data, "embedded");
        added = DataFiles.folder(data, "added");
        importer = new ProgramImport(engine, memoryBytes);
        clear(embedded);
        clear(added);
    }

    /** Makes the embedded programs those of this version of the app: adds new ones, removes old ones. */
    synchronized void installEmbedded(List<ProgramSource> sources) throws IOException {
        Set<String> wanted = new HashSet<String>();
        IOException failure = null;
        for (ProgramSource source : sources) {
            try {
                String id = Program.idOf(ProgramImport.readManifest(source));
                wanted.add(id);
                if (!new File(embedded, id).isDirectory()) importer.run(source, embedded);
                DataFiles.remove(new File(added, id)); // the user's copy of the same
            } catch (IOException error) {
                failure = error; // the others can still be used
            }
        }
        for (File folder : DataFiles.children(embedded)) {
            if (!wanted.contains(folder.getName())) DataFiles.remove(folder);
        }
        if (failure != null) throw failure;
    }

    /** Adds a program of the user's. Throws Refusal, and has added nothing, if anything is wrong with it. */
    synchronized void add(ProgramSource source) throws IOException {
        String id = Program.idOf(ProgramImport.readManifest(source));
        if (new File(added, id).exists() || new File(embedded, id).exists()) {
            throw new Refusal("This program is here already, as " + id + ".");
        }
        importer.run(source, added);
    }

    void delete(String id) throws IOException {
        Program program = find(id);
        if (program.embedded) throw new Refusal("This program is a part of the app and cannot be deleted.");
        // Renamed first, so that a process that dies meanwhile leaves no half of a program.
        File gone = new File(added, ".deleted-" + id);
        File folder = new File(added, id);
        DataFiles.remove(folder.renameTo(gone) ? gone : folder);
        synchronized (verified) {
            verified.remove(id);
        }
    }

    /** All programs: by model, ours before opponents, fewest bits first. */
    List<Program> list() {
        List<Program> programs = new ArrayList<Program>();
        collect(embedded, programs);
        collect(added, programs);
        Collections.sort(programs, new Comparator<Program>() {
            @Override
            public int compare(Program a, Program b) {
                int order = a.manifest.model.compareTo(b.manifest.model);
                if (order == 0) order = Boolean.compare(b.manifest.isOwn(), a.manifest.isOwn());
                if (order == 0) order = Double.compare(a.manifest.bits, b.manifest.bits);
                return order == 0 ? a.id.compareTo(b.id) : order;
            }
        });
        return programs;
    }

    Program find(String id) throws Refusal {
        for (Program program : list()) {
            if (program.id.equals(id)) return program;
        }
        throw new Refusal("There is no program " + id + " any more: choose another.");
    }

    /** Why a program cannot be loaded, in one sentence; null if nothing speaks against it. */
    String refusal(Program program) {
        for (FileRecord record : program.manifest.files()) {
            if (program.file(record).length() != record.bytes) return altered(record, program);
        }
        return Program.memoryRefusal(program.manifest, memoryBytes);
    }

    /** Finds a program that may be loaded: its memory suffices and its files are what was exported. */
    Program findUsable(String id) throws IOException {
        Program program = find(id);
        String refusal = refusal(program);
        if (refusal != null) throw new Refusal(refusal);
        return program;
    }

    /** Hashes a program's files at its first use by this process: storage may have failed since it was added. */
    void verify(Program program) throws IOException {
        synchronized (verified) {
            if (verified.contains(program.id)) return;
        }
        for (FileRecord record : program.manifest.files()) {
            String found = DataFiles.sha256(program.file(record));
            if (!found.equals(record.sha256)) throw new Refusal(altered(record, program));
        }
        synchronized (verified) {
            verified.add(program.id);
        }
    }

    /** Removes what a process that died was adding or deleting. */
    private static void clear(File folder) {
        for (File each : DataFiles.children(folder)) {
            if (each.getName().startsWith(".")) DataFiles.remove(each);
        }
    }

    private static String altered(FileRecord record, Program program) {
        String cure = program.embedded ? "install the app again." : "delete the program and add it again.";
        return record.name + " is not as it was exported (its size or hash differs): " + cure;
    }

    private static void collect(File folder, List<Program> programs) {
        boolean isEmbedded = folder.getName().equals("embedded");
        for (File each : DataFiles.children(folder)) {
            if (each.getName().startsWith(".")) continue; // being added or removed
            try {
                String text = DataFiles.read(new File(each, Manifest.NAME));
                programs.add(new Program(each, Manifest.read(text), isEmbedded));
            } catch (IOException error) {
                continue; // damaged, or added by another version of the app: it cannot be used by this one
            }
        }
    }
}
