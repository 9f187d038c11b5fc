package org.lowbit.demo.core;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;

/**
 * Answers one prompt again and again, told to free memory before and during an answer: {@code java MemoryProbe DATA
 * PROGRAM_FOLDER}. Prints for each answer its ids and how many tokens of the prompt the KV cache still held.
 */
public final class MemoryProbe implements Platform {
    private final File data;
    private final File program;
    private final BlockingQueue<JsonObject> events = new LinkedBlockingQueue<JsonObject>();

    private MemoryProbe(File data, File program) {
        this.data = data;
        this.program = program;
    }

    public static void main(String[] words) throws Exception {
        MemoryProbe probe = new MemoryProbe(new File(words[0]), new File(words[1]));
        Core core = new Core(probe);
        core.freeMemory(); // of nothing
        core.start();
        probe.waitFor("models.changed");
        probe.answer(core, false);
        probe.answer(core, false);
        core.freeMemory();
        probe.answer(core, true);
        probe.answer(core, false);
    }

    private void answer(Core core, boolean freesMeanwhile) throws Exception {
        JsonObject listed = JsonReader.parseObject(core.call("{\"call\": \"models.list\"}"));
        String id = listed.object("result").objects("models").get(0).text("id");
        core.call("{\"call\": \"generate.start\", \"model\": \"" + id + "\", \"tokens\": [1, 15, 7], "
                + "\"max_new_tokens\": 8, \"temperature\": 0.0, \"top_p\": 1.0, \"top_k\": 0, \"seed\": 0}");
        if (freesMeanwhile) core.freeMemory();
        List<Object> ids = new ArrayList<Object>();
        JsonObject event = waitFor("token", "done");
        for (; event.text("event").equals("token"); event = waitFor("token", "done")) ids.addAll(event.list("ids"));
        System.out.println(ids + "|" + event.object("stats").whole("reused_tokens"));
    }

    private JsonObject waitFor(String... names) throws Exception {
        for (;;) {
            JsonObject event = events.take();
            for (String name : names) {
                if (event.text("event").equals(name)) return event;
            }
        }
    }

    @Override
    public File dataFolder() {
        return data;
    }

    @Override
    public List<ProgramSource> embeddedPrograms() {
        return Collections.<ProgramSource>singletonList(new ProgramSource() {
            @Override
            public InputStream open(String name) throws IOException {
                return new FileInputStream(new File(program, name));
            }
        });
    }

    @Override
    public DeviceReadings readings() {
        return new DeviceReadings();
    }

    @Override
    public void pickProgram(String path) {}

    @Override
    public void share(List<File> files) {}

    @Override
    public void keepAwake(boolean on) {}

    @Override
    public void send(String event) {
        try {
            events.add(JsonReader.parseObject(event));
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }
}
