package org.lowbit.demo.core;

import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A JSON object. Its getters throw an IOException with one sentence for what is missing or of another type. */
final class JsonObject {
    private final Map<String, Object> members = new LinkedHashMap<String, Object>();

    JsonObject put(String name, Object value) {
        members.put(name, value);
        return this;
    }

    JsonObject remove(String name) {
        members.remove(name);
        return this;
    }

    /** Takes over every member of another object. */
    JsonObject putAll(JsonObject other) {
        members.putAll(other.members);
        return this;
    }

    Map<String, Object> members() {
        return members;
    }

    boolean has(String name) {
        return members.containsKey(name);
    }

    /** Whether the member is absent or null. */
    boolean lacks(String name) {
        return members.get(name) == null;
    }

    Object get(String name) {
        return members.get(name);
    }

    String text(String name) throws IOException {
        return as(String.class, name, "a text");
    }

    String textOrNull(String name) throws IOException {
        return lacks(name) ? null : text(name);
    }

    long whole(String name) throws IOException {
        return as(Long.class, name, "a whole number");
    }

    /** A whole number of at least {@code least}, for sizes and counts. */
    long atLeast(long least, String name) throws IOException {
        long value = whole(name);
        if (value < least) throw new IOException(name + " must be at least " + least + ", not " + value);
        return value;
    }

    double number(String name) throws IOException {
        return as(Number.class, name, "a number").doubleValue();
    }

    JsonObject object(String name) throws IOException {
        return as(JsonObject.class, name, "an object");
    }

    JsonObject objectOrNull(String name) throws IOException {
        return lacks(name) ? null : object(name);
    }

    List<?> list(String name) throws IOException {
        return as(List.class, name, "a list");
    }

    long[] wholes(String name) throws IOException {
        List<?> list = list(name);
        long[] values = new long[list.size()];
        for (int i = 0; i < values.length; ++i) {
            if (!(list.get(i) instanceof Long)) throw new IOException(name + " must be a list of whole numbers");
            values[i] = (Long) list.get(i);
        }
        return values;
    }

    List<String> texts(String name) throws IOException {
        List<String> values = new ArrayList<String>();
        for (Object value : list(name)) {
            if (!(value instanceof String)) throw new IOException(name + " must be a list of texts");
            values.add((String) value);
        }
        return values;
    }

    List<JsonObject> objects(String name) throws IOException {
        List<JsonObject> values = new ArrayList<JsonObject>();
        for (Object value : list(name)) {
            if (!(value instanceof JsonObject)) throw new IOException(name + " must be a list of objects");
            values.add((JsonObject) value);
        }
        return values;
    }

    @Override
    public String toString() {
        return JsonText.of(this);
    }

    private <T> T as(Class<T> type, String name, String words) throws IOException {
        Object value = members.get(name);
        if (type.isInstance(value)) return type.cast(value);
        if (value == null) throw new IOException(name + " is missing");
        throw new IOException(name + " must be " + words);
    }
}
