package org.lowbit.demo.core;

import java.io.IOException;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ThreadFactory;

/** The one thread that runs programs: the native side has one pool of threads, which two calls at once would share. */
final class Engine {
    private final ExecutorService thread = Executors.newSingleThreadExecutor(named("engine"));

    void start(Runnable work) {
        thread.execute(work);
    }

    /** Runs work after all that was started before, and waits for its end. */
    <T> T run(Callable<T> work) throws IOException {
        try {
            return thread.submit(work).get();
        } catch (ExecutionException error) {
            if (error.getCause() instanceof IOException) throw (IOException) error.getCause();
            throw new IllegalStateException(error.getCause());
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new Refusal("The app is closing.", error);
        }
    }

    /** Threads with a name, which do not keep a process alive. */
    static ThreadFactory named(final String name) {
        return new ThreadFactory() {
            @Override
            public Thread newThread(Runnable work) {
                Thread thread = new Thread(work, name);
                thread.setDaemon(true);
                return thread;
            }
        };
    }
}
