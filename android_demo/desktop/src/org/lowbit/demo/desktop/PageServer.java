package org.lowbit.demo.desktop;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpHandler;
import com.sun.net.httpserver.HttpServer;
import java.io.File;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.List;
import java.util.concurrent.Executors;
import org.lowbit.demo.core.Core;

/** The page, the bridge and the events under one address of this computer, which no other computer reaches. */
final class PageServer {
    private final Core core;
    private final List<File> assets;
    private final EventStreams events;
    private final HttpServer server;

    /** @param assets folders with the page's files; the first that has a file serves it */
    PageServer(Core core, List<File> assets, EventStreams events, int port) throws IOException {
        this.core = core;
        this.assets = assets;
        this.events = events;
        server = HttpServer.create(new InetSocketAddress(InetAddress.getByName("127.0.0.1"), port), 0);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", new HttpHandler() {
            @Override
            public void handle(HttpExchange exchange) throws IOException {
                serve(exchange);
            }
        });
    }

    /** Starts to serve and returns the page's address. */
    String start() {
        server.start();
        return "http://127.0.0.1:" + server.getAddress().getPort() + "/";
    }

    private void serve(HttpExchange exchange) throws IOException {
        try {
            String path = exchange.getRequestURI().getPath();
            if (!isOurPage(exchange)) {
                refuse(exchange, 403, "Only the app's own page is served.");
            } else if (path.equals("/bridge")) {
                bridge(exchange);
            } else if (path.equals("/events")) {
                events.serve(exchange);
            } else {
                file(exchange, path);
            }
        } catch (IOException error) {
            exchange.close(); // the browser went away
        }
    }

    /** Another site's page in the same browser could send requests here too. */
    private boolean isOurPage(HttpExchange exchange) {
        String host = exchange.getRequestHeaders().getFirst("Host");
        String origin = exchange.getRequestHeaders().getFirst("Origin");
        int port = server.getAddress().getPort();
        boolean isHere = ("127.0.0.1:" + port).equals(host) || ("localhost:" + port).equals(host);
        return isHere && (origin == null || origin.equals("http://" + host));
    }

    private void bridge(HttpExchange exchange) throws IOException {
        String request = new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8);
        answer(exchange, 200, "application/json", core.call(request).getBytes(StandardCharsets.UTF_8));
    }

    private void file(HttpExchange exchange, String path) throws IOException {
        File file = find(path);
        if (file == null) {
            refuse(exchange, 404, "There is no " + path);
        } else {
            answer(exchange, 200, Core.contentType(file.getName()), Files.readAllBytes(file.toPath()));
        }
    }

    /** The file of a path, /models/ID/FILE or one of the page's; null if there is none. */
    private File find(String path) {
        String[] parts = path.split("/");
        if (parts.length == 4 && parts[1].equals("models")) {
            try {
                return core.programFile(parts[2], parts[3]);
            } catch (IOException error) {
                return null;
            }
        }
        if (path.contains("..")) return null;
        for (File folder : assets) {
            File file = new File(folder, path.equals("/") ? "index.html" : path.substring(1));
            if (file.isFile()) return file;
        }
        return null;
    }

    private static void refuse(HttpExchange exchange, int status, String sentence) throws IOException {
        answer(exchange, status, "text/plain; charset=utf-8", sentence.getBytes(StandardCharsets.UTF_8));
    }

    private static void answer(HttpExchange exchange, int status, String type, byte[] content) throws IOException {
        exchange.getResponseHeaders().set("Content-Type", type);
        exchange.getResponseHeaders().set("Cache-Control", "no-store");
        exchange.sendResponseHeaders(status, content.length == 0 ? -1 : content.length);
        exchange.getResponseBody().write(content);
        exchange.close();
    }
}
