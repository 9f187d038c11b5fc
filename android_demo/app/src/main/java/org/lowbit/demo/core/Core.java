package org.lowbit.demo.core;

import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * The app without its screen. The page calls {@link #call} with {"call": NAME, ...} and gets
 * {"ok": true, "result": {...}} or {"ok": false, "error": "One sentence."}. What takes long answers at once and goes
 * on by events.
 */
public final class Core {
    private final Platform platform;
    private final Events events;
    private final Engine engine = new Engine();
    private final ExecutorService files = Executors.newSingleThreadExecutor(Engine.named("files"));
    private final Circumstances circumstances;
    private final ProgramStore store;
    private final Sessions sessions;
    private final Settings settings;
    private final Conversations conversations;
    private final Generator generator;
    private final Comparisons comparisons;

    public Core(Platform platform) throws IOException {
        this.platform = platform;
        events = eventsOf(platform);
        circumstances = new Circumstances(platform);
        File data = platform.dataFolder();
        long memory = circumstances.memoryBytes();
        store = new ProgramStore(DataFiles.folder(data, "programs"), engine, memory);
        settings = new Settings(data);
        conversations = new Conversations(data);
        sessions = new Sessions(store, memory);
        generator = new Generator(engine, sessions, conversations, events);
        comparisons = new Comparisons(data, engine, sessions, store, circumstances, platform, events);
    }

    /** Makes the programs that came with the app ready, in the background; models.changed follows. */
    public void start() {
        inBackground(new FileWork() {
            @Override
            public void run() throws IOException {
                store.installEmbedded(platform.embeddedPrograms());
            }
        });
    }

    /** Answers one call of the page. Any thread may call it. */
    public String call(String request) {
        try {
            JsonObject asked = JsonReader.parseObject(request);
            return new JsonObject().put("ok", true).put("result", answer(asked.text("call"), asked)).toString();
        } catch (IOException error) {
            return refused(Words.sentence(error));
        } catch (RuntimeException error) {
            return refused("The app has a fault: " + error + ".");
        }
    }

    /** Adds a program that the user chose, in the background; the event models.changed or error follows. */
    public void addProgram(final ProgramSource source) {
        inBackground(new FileWork() {
            @Override
            public void run() throws IOException {
                store.add(source);
            }
        });
    }

    /** The user closed the picker: the page, which waits for an event, learns that all is as it was. */
    public void addNothing() {
        events.send("models.changed", new JsonObject());
    }

    /** The picker cannot be opened; the sentence says why and what to do. */
    public void addNothing(String sentence) {
        events.send("error", new JsonObject().put("error", sentence));
        addNothing();
    }

    /** A file of a program that its manifest lists: the tokenizer or the chat template. */
    public File programFile(String id, String name) throws IOException {
        return store.find(id).listed(name);
    }

    /** The media type of one of the page's or a program's files. */
    public static String contentType(String name) {
        String[] types = {
            ".html", "text/html; charset=utf-8",
            ".css", "text/css; charset=utf-8",
            ".js", "text/javascript; charset=utf-8",
            ".json", "application/json; charset=utf-8",
            ".jinja", "text/plain; charset=utf-8",
            ".svg", "image/svg+xml"
        };
        for (int i = 0; i < types.length; i += 2) {
            if (name.endsWith(types[i])) return types[i + 1];
        }
        return "application/octet-stream";
    }

    /** Where a report's files are, below the platform's data folder. */
    public static File reportFolder(File data) {
        return new File(data, Comparisons.FOLDER);
    }

    /** The app is no longer in front: the system may end the process, and gives it slower cores. */
    public void background() {
        generator.saveNow();
        comparisons.stop("the app went to the background, where the system slows it down");
    }

    /** The system is short of memory: loaded programs give theirs back, after what runs now. */
    public void freeMemory() {
        engine.start(new Runnable() {
            @Override
            public void run() {
                sessions.close();
            }
        });
    }

    private JsonObject answer(String call, JsonObject asked) throws IOException {
        String group = call.substring(0, Math.max(0, call.indexOf('.')));
        if (group.equals("models")) return models(call, asked);
        if (group.equals("conversations")) return conversations(call, asked);
        if (group.equals("generate")) return generate(call, asked);
        if (group.equals("compare")) return compare(call, asked);
        if (call.equals("device.get")) return circumstances.describe(platform.dataFolder().getUsableSpace());
        if (group.equals("settings")) return settings(call, asked);
        if (call.equals("report.share")) return share(asked);
        throw Refusal.unknownCall(call);
    }

    private JsonObject models(String call, JsonObject asked) throws IOException {
        if (call.equals("models.list")) {
            List<JsonObject> models = new ArrayList<JsonObject>();
            for (Program program : store.list()) models.add(program.describe(store.refusal(program)));
            return new JsonObject().put("models", models);
        }
        comparisons.refuseIfRunning();
        if (call.equals("models.add")) {
            platform.pickProgram(asked.textOrNull("path"));
            return new JsonObject().put("started", true);
        }
        if (call.equals("models.delete")) {
            store.delete(asked.text("id"));
            events.send("models.changed", new JsonObject());
            return new JsonObject();
        }
        throw Refusal.unknownCall(call);
    }

    private JsonObject settings(String call, JsonObject asked) throws IOException {
        if (call.equals("settings.get")) return new JsonObject().put("settings", settings.get());
        if (call.equals("settings.set")) {
            return new JsonObject().put("settings", settings.set(asked.object("settings")));
        }
        throw Refusal.unknownCall(call);
    }

    private JsonObject conversations(String call, JsonObject asked) throws IOException {
        if (call.equals("conversations.list")) return new JsonObject().put("conversations", conversations.list());
        if (call.equals("conversations.get")) {
            return new JsonObject().put("conversation", conversations.get(asked.text("id")));
        }
        if (call.equals("conversations.save")) {
            return new JsonObject().put("conversation", conversations.save(asked.object("conversation")));
        }
        if (call.equals("conversations.delete")) {
            conversations.delete(asked.text("id"));
            return new JsonObject();
        }
        throw Refusal.unknownCall(call);
    }

    private JsonObject generate(String call, JsonObject asked) throws IOException {
        if (call.equals("generate.start")) {
            comparisons.refuseIfRunning();
            Program program = store.findUsable(asked.text("model"));
            int threads = (int) settings.get().whole("threads");
            if (threads == 0) threads = circumstances.fastCores();
            return new JsonObject().put("run", generator.start(program, threads, asked));
        }
        if (call.equals("generate.stop")) {
            generator.stop(asked.whole("run"));
            return new JsonObject();
        }
        if (call.equals("generate.width")) {
            generator.setWidth(asked.whole("run"), asked.whole("width"));
            return new JsonObject();
        }
        if (call.equals("generate.current")) return generator.describeCurrent();
        throw Refusal.unknownCall(call);
    }

    private JsonObject compare(String call, JsonObject asked) throws IOException {
        if (call.equals("compare.start") && generator.current() != null) {
            throw new Refusal("An answer is being generated: stop it first.");
        }
        return comparisons.answer(call, asked);
    }

    private JsonObject share(JsonObject asked) throws IOException {
        List<File> written = comparisons.writeReport(asked.text("html"));
        platform.share(written);
        List<String> names = new ArrayList<String>();
        for (File file : written) names.add(file.getName());
        return new JsonObject().put("files", names);
    }

    private static Events eventsOf(final Platform platform) {
        return new Events() {
            @Override
            public void send(String name, JsonObject content) {
                platform.send(new JsonObject().put("event", name).putAll(content).toString());
            }
        };
    }

    private void complain(String sentence) {
        events.send("error", new JsonObject().put("error", sentence));
    }

    private static String refused(String sentence) {
        return new JsonObject().put("ok", false).put("error", sentence).toString();
    }

    /** Work on files that takes long. */
    private interface FileWork {
        void run() throws IOException;
    }

    /** Does work on the thread for files, then says that the programs changed, or why not. */
    private void inBackground(final FileWork work) {
        files.execute(new Runnable() {
            @Override
            public void run() {
                try {
                    work.run();
                } catch (IOException error) {
                    complain(Words.sentence(error));
                } catch (RuntimeException error) {
                    complain("The program was not added, by a fault of the app: " + error + ".");
                }
                events.send("models.changed", new JsonObject());
            }
        });
    }
}
