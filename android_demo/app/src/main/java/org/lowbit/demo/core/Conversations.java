package org.lowbit.demo.core;

import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.UUID;

/**
 * Conversations, one file each. A turn of the assistant holds the ids of its answer, which the core writes while they
 * are generated, and their text, which the page writes.
 */
final class Conversations {
    private static final String ENDING = ".json";
    private final File folder;

    Conversations(File data) throws IOException {
        folder = DataFiles.folder(data, "conversations");
    }

    /** Every conversation's id, title and time of change (ms since 1970), the last changed first. */
    synchronized List<JsonObject> list() {
        List<File> files = new ArrayList<File>();
        for (File file : DataFiles.children(folder)) {
            if (file.getName().endsWith(ENDING) && !file.getName().startsWith(".")) files.add(file);
        }
        List<JsonObject> found = new ArrayList<JsonObject>();
        for (File file : files) {
            try {
                JsonObject conversation = JsonReader.parseObject(DataFiles.read(file));
                found.add(new JsonObject()
                        .put("id", conversation.text("id"))
                        .put("title", conversation.textOrNull("title"))
                        .put("updated", file.lastModified()));
            } catch (IOException error) {
                continue; // storage that failed: nothing to show, and nothing that could be opened
            }
        }
        Collections.sort(found, new Comparator<JsonObject>() {
            @Override
            public int compare(JsonObject a, JsonObject b) {
                return Long.compare((Long) b.get("updated"), (Long) a.get("updated"));
            }
        });
        return found;
    }

    synchronized JsonObject get(String id) throws IOException {
        File file = file(id);
        if (!file.exists()) throw new Refusal("There is no conversation " + id + " any more.");
        return JsonReader.parseObject(DataFiles.read(file));
    }

    /** Saves a conversation and returns it; a new one, without an id, gets one. */
    synchronized JsonObject save(JsonObject conversation) throws IOException {
        if (conversation.lacks("id")) conversation.put("id", UUID.randomUUID().toString());
        conversation.objects("turns"); // must be there
        DataFiles.write(file(conversation.text("id")), conversation.toString());
        return conversation;
    }

    synchronized void delete(String id) throws IOException {
        DataFiles.remove(file(id));
    }

    /** Changes members of one turn. A conversation that was deleted meanwhile stays deleted. */
    synchronized void saveAnswer(String id, long turn, JsonObject answer) throws IOException {
        if (!file(id).exists()) return;
        JsonObject conversation = get(id);
        List<JsonObject> turns = conversation.objects("turns");
        if (turn < turns.size()) {
            turns.get((int) turn).putAll(answer);
            save(conversation);
        }
    }

    private File file(String id) throws IOException {
        if (!id.matches("[A-Za-z0-9-]{1,64}")) throw new Refusal(id + " is no conversation's id.");
        return new File(folder, id + ENDING);
    }
}
