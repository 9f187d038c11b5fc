package org.lowbit.demo.core;

import java.io.IOException;
import java.util.Arrays;

/** Calls the native methods as a test asks, and prints what they give: {@code java NativeProbe CASE PROGRAM}. */
public final class NativeProbe {
    private static final long[] PROMPT = {1, 15, 7};
    private static final int COUNT = 24;

    private NativeProbe() {}

    public static void main(String[] words) throws Exception {
        String path = words[1];
        if (words[0].equals("generate")) generate(path);
        if (words[0].equals("continue")) continueAtAPosition(path);
        if (words[0].equals("stop")) stopAfterThree(path);
        if (words[0].equals("throw")) throwFromTheListener(path);
        if (words[0].equals("full")) fillTheContext(path);
        if (words[0].equals("refuse")) refuse(path, words[2]);
        if (words[0].equals("widths")) changeWidths(path, Arrays.copyOfRange(words, 2, words.length));
        if (words[0].equals("refuse widths")) refuseWidths(path, Arrays.copyOfRange(words, 2, words.length));
        if (words[0].equals("benchmark")) benchmark(path);
        if (words[0].equals("cycle")) openAndClose(path, Integer.parseInt(words[2]));
    }

    /** Greedy, then drawn. */
    private static void generate(String path) throws IOException {
        long handle = Native.open(path, 1);
        System.out.println(Native.describe(handle));
        System.out.println(run(handle, PROMPT, 0, COUNT, 0, 1, 0, 0));
        System.out.println(run(handle, PROMPT, 0, COUNT, 0.8, 0.9, 40, 7));
        System.out.println(Native.memory());
        Native.close(handle);
    }

    /** The same tokens in one piece, in two, with the second one replaced, and one that only fills the cache. */
    private static void continueAtAPosition(String path) throws IOException {
        long handle = Native.open(path, 1);
        System.out.println(run(handle, PROMPT, 0, COUNT, 0, 1, 0, 0));
        System.out.println(run(handle, new long[] {1, 9, 9, 9}, 0, 1, 0, 1, 0, 0));
        System.out.println(run(handle, new long[] {15, 7}, 1, COUNT, 0, 1, 0, 0));
        System.out.println(run(handle, new long[] {1, 15}, 0, 0, 0, 1, 0, 0));
        System.out.println(run(handle, new long[] {7}, 2, COUNT, 0, 1, 0, 0));
        Native.close(handle);
    }

    private static void stopAfterThree(String path) throws IOException {
        long handle = Native.open(path, 1);
        System.out.println(run(handle, PROMPT, 0, COUNT, 0, 1, 0, 0, 3));
        Native.close(handle);
    }

    private static void throwFromTheListener(String path) throws IOException {
        long handle = Native.open(path, 1);
        final int[] calls = {0};
        try {
            Native.generate(handle, PROMPT, 0, COUNT, 0, 1, 0, 0, new TokenListener() {
                @Override
                public boolean onToken(long id) {
                    ++calls[0];
                    throw new IllegalStateException("of the listener");
                }
            });
        } catch (IllegalStateException error) {
            System.out.println(error.getMessage() + ", after " + calls[0]);
        }
        System.out.println(run(handle, PROMPT, 0, COUNT, 0, 1, 0, 0));
        Native.close(handle);
    }

    /** Up to the last position of the KV cache, and one prompt that is too long for it. */
    private static void fillTheContext(String path) throws IOException {
        long handle = Native.open(path, 1);
        long[] prompt = new long[500];
        Arrays.fill(prompt, 15);
        System.out.println(run(handle, prompt, 0, 1000, 0, 1, 0, 0));
        refused(handle, new long[1000], 0, 1);
        refused(handle, new long[] {1}, 512, 1);
        refused(handle, new long[] {1, 2}, 511, 1);
        Native.close(handle);
    }

    private static void refuse(String path, String missing) throws IOException {
        try {
            Native.open(missing, 1);
        } catch (IOException error) {
            System.out.println(error.getMessage());
        }
        try {
            Native.open(path, 1000);
        } catch (IOException error) {
            System.out.println(error.getMessage());
        }
        long handle = Native.open(path, 1);
        refused(handle, new long[0], 0, 1);
        refused(handle, new long[] {1, 4096}, 0, 1);
        refused(handle, new long[] {-1}, 0, 1);
        refused(handle, new long[] {1}, -1, 1);
        refused(handle, new long[] {1}, 0, 1.5);
        refused(handle, new long[] {1}, 0, Double.NaN);
        Native.close(handle);
        try {
            Native.benchmark(path, new long[] {400}, new long[] {500}, 64, 1, 1, 1);
        } catch (IOException error) {
            System.out.println(error.getMessage());
        }
    }

    /** An answer of COUNT tokens, equally many at each of the widths, which the listener changes. */
    private static void changeWidths(String path, final String[] widths) throws IOException {
        final long handle = Native.open(path, 1);
        System.out.println(Native.describe(handle));
        Native.setWidths(handle, wholes(widths[0]));
        final StringBuilder ids = new StringBuilder();
        final int[] given = {0};
        Native.generate(handle, PROMPT, 0, COUNT, 0, 1, 0, 0, new TokenListener() {
            @Override
            public boolean onToken(long id) throws IOException {
                ids.append(given[0] == 0 ? "" : ",").append(id);
                int next = ++given[0] * widths.length / COUNT;
                if (next < widths.length) Native.setWidths(handle, wholes(widths[next]));
                return true;
            }
        });
        System.out.println(ids);
        System.out.println(Native.describe(handle));
        Native.close(handle);
    }

    private static void refuseWidths(String path, String[] widths) throws IOException {
        long handle = Native.open(path, 1);
        for (String each : widths) {
            try {
                Native.setWidths(handle, wholes(each));
                System.out.println("accepted: " + each);
            } catch (IOException error) {
                System.out.println(error.getMessage());
            }
        }
        Native.close(handle);
    }

    private static long[] wholes(String text) {
        String[] words = text.split(",");
        long[] values = new long[words.length];
        for (int i = 0; i < values.length; ++i) values[i] = Long.parseLong(words[i]);
        return values;
    }

    private static void benchmark(String path) throws IOException {
        System.out.println(Native.benchmark(path, new long[] {16, 40}, new long[0], 4, 1, 2, 1));
    }

    /** Memory after a tenth of the rounds, by when allocators have what they keep, and after all. */
    private static void openAndClose(String path, int rounds) throws IOException {
        for (int i = 0; i < rounds; ++i) {
            if (i == rounds / 10) System.out.println(Native.memory());
            long handle = Native.open(path, 1);
            if (i % 10 == 0) run(handle, PROMPT, 0, 2, 0, 1, 0, 0);
            Native.close(handle);
            try {
                Native.open(path + ".missing", 1);
            } catch (IOException expected) {
                continue;
            }
            throw new AssertionError("opened what is not there");
        }
        System.out.println(Native.memory());
    }

    private static void refused(long handle, long[] tokens, long position, double topP) {
        try {
            System.out.println("accepted: " + run(handle, tokens, position, 1, 0.5, topP, 0, 0));
        } catch (IOException error) {
            System.out.println(error.getMessage());
        }
    }

    private static String run(
            long handle, long[] tokens, long position, long count, double temperature, double topP, int topK, long seed)
            throws IOException {
        return run(handle, tokens, position, count, temperature, topP, topK, seed, Integer.MAX_VALUE);
    }

    /** Returns "ids|statistics". */
    private static String run(long handle, long[] tokens, long position, long count, double temperature, double topP,
            int topK, long seed, final int most) throws IOException {
        final StringBuilder ids = new StringBuilder();
        final int[] given = {0};
        String json = Native.generate(handle, tokens, position, count, temperature, topP, topK, seed, new TokenListener() {
            @Override
            public boolean onToken(long id) {
                ids.append(ids.length() == 0 ? "" : ",").append(id);
                return ++given[0] < most;
            }
        });
        return ids + "|" + json;
    }
}
