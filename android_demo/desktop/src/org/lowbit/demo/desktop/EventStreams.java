package org.lowbit.demo.desktop;

import com.sun.net.httpserver.HttpExchange;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** Server-sent events: every open page gets each event, in order. */
final class EventStreams {
    private static final int QUIET_SECONDS = 10;
    private final Set<BlockingQueue<String>> pages = ConcurrentHashMap.newKeySet();

    void send(String event) {
        for (BlockingQueue<String> page : pages) page.add(event);
    }

    /** Serves one page until it goes away. */
    void serve(HttpExchange exchange) throws IOException {
        BlockingQueue<String> waiting = new LinkedBlockingQueue<String>();
        pages.add(waiting);
        try {
            exchange.getResponseHeaders().set("Content-Type", "text/event-stream");
            exchange.getResponseHeaders().set("Cache-Control", "no-store");
            exchange.sendResponseHeaders(200, 0);
            OutputStream out = exchange.getResponseBody();
            write(out, ": connected\n\n");
            while (true) {
                String event = waiting.poll(QUIET_SECONDS, TimeUnit.SECONDS);
                // A comment now and then shows whether the page is still there.
                write(out, event == null ? ": quiet\n\n" : "data: " + event + "\n\n");
            }
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        } finally {
            pages.remove(waiting);
            exchange.close();
        }
    }

    private static void write(OutputStream out, String text) throws IOException {
        out.write(text.getBytes(StandardCharsets.UTF_8));
        out.flush();
    }
}
