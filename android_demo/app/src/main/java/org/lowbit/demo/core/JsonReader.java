package org.lowbit.demo.core;

import java.io.IOException;
import java.io.Reader;
import java.io.StringReader;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;

/**
 * Reads JSON strictly, as RFC 8259 has it: whole values, or piece by piece where a file is too large for memory.
 *
 * <p>Android's org.json reads leniently and is not in a JDK. This class is the same on a phone and on a desktop, and
 * tells 2 from 2.0, which the checksum of a manifest needs. Every error is an IOException with one sentence.
 */
final class JsonReader {
    private static final int DEEPEST = 100;
    private static final int END = -1;
    private static final Pattern NUMBER = Pattern.compile("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?");
    private static final Pattern WHOLE = Pattern.compile("-?[0-9]{1,18}");

    private final Reader input;
    private int next;
    private int depth;
    private boolean first; // no member of the object or list that was opened last was read yet

    JsonReader(Reader input) throws IOException {
        this.input = input;
        next = input.read();
    }

    /** Reads a text that is one value and nothing else. */
    static Object parse(String text) throws IOException {
        JsonReader reader = new JsonReader(new StringReader(text));
        Object value = reader.value();
        reader.end();
        return value;
    }

    /** Reads a text that is one object and nothing else. */
    static JsonObject parseObject(String text) throws IOException {
        Object value = parse(text);
        if (value instanceof JsonObject) return (JsonObject) value;
        throw new IOException("it is not a JSON object");
    }

    /** Reads the next value: JsonObject, List, String, Long, Double, Boolean or null. */
    Object value() throws IOException {
        switch (peek()) {
            case '{':
                return object();
            case '[':
                return list();
            case '"':
                return string();
            case 't':
                return literal("true", Boolean.TRUE);
            case 'f':
                return literal("false", Boolean.FALSE);
            case 'n':
                return literal("null", null);
            default:
                return number();
        }
    }

    /** Reads the next value and keeps nothing of it, however large it is. */
    void skip() throws IOException {
        if (peek() == '{') {
            open('{');
            while (more('}')) {
                name();
                skip();
            }
        } else if (peek() == '[') {
            open('[');
            while (more(']')) skip();
        } else {
            value();
        }
    }

    /** The next character that is not white space, which tells what kind of value follows; -1 at the end. */
    int peek() throws IOException {
        while (next == ' ' || next == '\n' || next == '\r' || next == '\t') next = input.read();
        return next;
    }

    /** Enters an object or a list by its first bracket. */
    void open(char bracket) throws IOException {
        take(bracket);
        if (++depth > DEEPEST) throw new IOException("its values are nested too deep");
        first = true;
    }

    /** Tells whether another member follows. If none does, it leaves the object or list by its last bracket. */
    boolean more(char bracket) throws IOException {
        boolean isFirst = first;
        first = false;
        if (peek() == bracket) {
            take(bracket);
            --depth;
            return false;
        }
        if (!isFirst) take(',');
        return true;
    }

    /** Reads the name of an object's next member. */
    String name() throws IOException {
        if (peek() != '"') throw unexpected();
        String name = string();
        take(':');
        return name;
    }

    /** Checks that nothing follows. */
    void end() throws IOException {
        if (peek() != END) throw unexpected();
    }

    private JsonObject object() throws IOException {
        JsonObject object = new JsonObject();
        open('{');
        while (more('}')) {
            String name = name();
            if (object.has(name)) throw new IOException("it names " + name + " twice");
            object.put(name, value());
        }
        return object;
    }

    private List<Object> list() throws IOException {
        List<Object> list = new ArrayList<Object>();
        open('[');
        while (more(']')) list.add(value());
        return list;
    }

    private String string() throws IOException {
        take('"');
        StringBuilder text = new StringBuilder();
        while (next != '"') {
            if (next < ' ') throw unexpected(); // also the end
            text.append(next == '\\' ? escaped() : (char) next);
            next = input.read();
        }
        take('"');
        return text.toString();
    }

    private char escaped() throws IOException {
        next = input.read();
        int which = "\"\\/bfnrtu".indexOf(next);
        if (which < 0 || next == END) throw unexpected();
        if (next != 'u') return "\"\\/\b\f\n\r\t".charAt(which);
        int code = 0;
        for (int i = 0; i < 4; ++i) {
            next = input.read();
            int digit = next < 128 ? Character.digit(next, 16) : -1;
            if (digit < 0) throw unexpected();
            code = 16 * code + digit;
        }
        return (char) code;
    }

    private Object literal(String word, Object value) throws IOException {
        for (int i = 0; i < word.length(); ++i) {
            if (next != word.charAt(i)) throw unexpected();
            next = input.read();
        }
        return value;
    }

    private Object number() throws IOException {
        StringBuilder text = new StringBuilder();
        while (next != END && "+-.0123456789eE".indexOf(next) >= 0) {
            text.append((char) next);
            next = input.read();
        }
        String number = text.toString();
        if (!NUMBER.matcher(number).matches()) throw unexpected();
        if (WHOLE.matcher(number).matches()) return Long.valueOf(number);
        return Double.valueOf(number);
    }

    private void take(char wanted) throws IOException {
        if (peek() != wanted) throw unexpected();
        next = input.read();
    }

    private IOException unexpected() {
        if (next == END) return new IOException("its JSON ends too early");
        return new IOException("its JSON has an unexpected '" + (char) next + "'");
    }
}
