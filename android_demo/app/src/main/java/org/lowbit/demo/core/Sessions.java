package org.lowbit.demo.core;

import java.io.IOException;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;

/** The loaded programs, at most two, so that two widths can answer side by side. On the engine's thread only. */
final class Sessions {
    private static final int MOST = 2;
    private final Deque<Session> open = new ArrayDeque<Session>(); // the last used first
    private final ProgramStore store;
    private final long memoryBytes;

    Sessions(ProgramStore store, long memoryBytes) {
        this.store = store;
        this.memoryBytes = memoryBytes;
    }

    /** A session of the program, loaded now unless it is; others are closed where there is no room for them. */
    Session of(Program program, int threads) throws IOException {
        Session session = take(program, threads);
        if (session == null) {
            store.verify(program);
            while (!open.isEmpty() && (open.size() == MOST || !fits(program))) open.removeLast().close();
            session = Session.open(program, threads);
        }
        open.addFirst(session);
        return session;
    }

    /** Closes all programs. The next answer loads its program again. */
    void close() {
        while (!open.isEmpty()) open.removeLast().close();
    }

    /** Measures a program alone: others are closed, because their memory and their threads are not its own. */
    JsonObject benchmark(Program program, long[] prompts, long[] contexts, long generated, long threads)
            throws IOException {
        close();
        store.verify(program);
        // No warm-up: the first token, timed by itself, has run everything once.
        String told = Native.benchmark(program.path(), prompts, contexts, generated, 0, 1, (int) threads);
        return JsonReader.parseObject(told);
    }

    /** Takes the program's session out. Those with another number of threads end: the native pool has one size. */
    private Session take(Program program, int threads) {
        for (Iterator<Session> each = open.iterator(); each.hasNext(); ) {
            Session session = each.next();
            if (session.is(program, threads)) {
                each.remove();
                return session;
            }
            if (!session.has(threads)) {
                each.remove();
                session.close();
            }
        }
        return null;
    }

    /** Whether all together take at most half of the memory, which other apps need too. */
    private boolean fits(Program program) {
        long bytes = program.manifest.plannedBytes();
        for (Session session : open) bytes += session.program.manifest.plannedBytes();
        return bytes <= memoryBytes / 2;
    }
}
