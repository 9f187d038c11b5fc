package org.lowbit.demo.core;

import java.io.File;
import java.io.IOException;
import java.util.List;

/** Placeholder. */
final class Comparisons {
    Comparisons(File data, Engine engine, Sessions sessions, ProgramStore store, Circumstances circumstances, Events events) {}
    boolean isRunning() { return false; }
    JsonObject answer(String call, JsonObject asked) throws IOException { throw new Refusal("not yet"); }
    List<File> writeReport(String html) throws IOException { throw new Refusal("not yet"); }
}
