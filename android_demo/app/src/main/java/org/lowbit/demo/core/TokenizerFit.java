package org.lowbit.demo.core;

import java.io.BufferedInputStream;
import java.io.BufferedReader;
import java.io.EOFException;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;

/** Finds out whether a tokenizer's ids fit a program's vocabulary, without holding the tokenizer in memory. */
final class TokenizerFit {
    private TokenizerFit() {}

    /** Throws Refusal unless every id of the file is one of the program's. */
    static void check(File tokenizer, long vocabSize) throws Refusal {
        long ids;
        try {
            ids = tokenizer.getName().endsWith(".json") ? idsOfJson(tokenizer) : piecesOfSentencePiece(tokenizer);
        } catch (IOException error) {
            throw new Refusal(tokenizer.getName() + " is not a readable tokenizer (" + error.getMessage()
                    + "): export the program again.", error);
        }
        if (ids > vocabSize) {
            throw new Refusal(tokenizer.getName() + " does not fit: it has " + ids + " ids and the program "
                    + vocabSize + "; choose the one that was exported with the program.");
        }
        if (ids == 0) throw new Refusal(tokenizer.getName() + " has no vocabulary: export the program again.");
    }

    /** One more than the highest id of a tokenizer.json. */
    private static long idsOfJson(File file) throws IOException {
        BufferedReader in = new BufferedReader(new InputStreamReader(new FileInputStream(file), "UTF-8"));
        try {
            JsonReader reader = new JsonReader(in);
            long ids = 0;
            reader.open('{');
            while (reader.more('}')) {
                String name = reader.name();
                if (name.equals("model")) {
                    ids = Math.max(ids, idsOfModel(reader));
                } else if (name.equals("added_tokens")) {
                    ids = Math.max(ids, idsOfAdded(reader));
                } else {
                    reader.skip();
                }
            }
            return ids;
        } finally {
            in.close();
        }
    }

    private static long idsOfModel(JsonReader reader) throws IOException {
        long ids = 0;
        reader.open('{');
        while (reader.more('}')) {
            if (reader.name().equals("vocab")) {
                ids = reader.peek() == '{' ? idsOfTable(reader) : lengthOfList(reader);
            } else {
                reader.skip();
            }
        }
        return ids;
    }

    /** Of BPE and WordPiece: {"piece": id}. */
    private static long idsOfTable(JsonReader reader) throws IOException {
        long ids = 0;
        reader.open('{');
        while (reader.more('}')) {
            reader.name();
            ids = Math.max(ids, 1 + idOf(reader.value()));
        }
        return ids;
    }

    /** Of Unigram: [["piece", score]], whose ids are their places. */
    private static long lengthOfList(JsonReader reader) throws IOException {
        long length = 0;
        reader.open('[');
        for (; reader.more(']'); ++length) reader.skip();
        return length;
    }

    private static long idsOfAdded(JsonReader reader) throws IOException {
        long ids = 0;
        reader.open('[');
        while (reader.more(']')) {
            Object token = reader.value();
            if (!(token instanceof JsonObject)) throw new IOException("an added token is no object");
            ids = Math.max(ids, 1 + idOf(((JsonObject) token).get("id")));
        }
        return ids;
    }

    private static long idOf(Object value) throws IOException {
        if (value instanceof Long && (Long) value >= 0) return (Long) value;
        throw new IOException("a piece has no id");
    }

    /** Number of pieces of a tokenizer.model: a protobuf whose repeated field 1 holds them. */
    private static long piecesOfSentencePiece(File file) throws IOException {
        InputStream in = new BufferedInputStream(new FileInputStream(file));
        try {
            long pieces = 0;
            for (long tag; (tag = varint(in)) >= 0; ) {
                if (tag >>> 3 == 1) ++pieces;
                skipField(in, (int) (tag & 7));
            }
            return pieces;
        } finally {
            in.close();
        }
    }

    private static void skipField(InputStream in, int type) throws IOException {
        if (type == 0) {
            if (varint(in) == -1) throw new EOFException("it ends too early");
            return;
        }
        if (type != 1 && type != 2 && type != 5) throw new IOException("it is no protobuf");
        long bytes = type == 1 ? 8 : type == 5 ? 4 : varint(in);
        if (bytes < 0) throw new EOFException("it ends too early");
        while (bytes > 0) {
            long skipped = in.skip(bytes);
            if (skipped == 0 && in.read() < 0) throw new EOFException("it ends too early");
            bytes -= Math.max(skipped, 1);
        }
    }

    /** A number in protobuf's coding of at most 63 bits; -1 at the end of the file. */
    private static long varint(InputStream in) throws IOException {
        long value = 0;
        for (int shift = 0; shift < 63; shift += 7) {
            int part = in.read();
            if (part < 0 && shift == 0) return -1;
            if (part < 0) throw new EOFException("it ends too early");
            value |= (long) (part & 0x7f) << shift;
            if (part < 0x80) return value;
        }
        throw new IOException("it is no protobuf");
    }
}
