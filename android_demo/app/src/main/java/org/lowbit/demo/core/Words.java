package org.lowbit.demo.core;

import java.util.Locale;

/** Amounts as sentences spell them. */
final class Words {
    private Words() {}

    static String bytes(long bytes) {
        double megabytes = bytes / 1e6;
        if (megabytes >= 1000) return String.format(Locale.ROOT, "%.1f GB", megabytes / 1000);
        return String.format(Locale.ROOT, megabytes >= 10 ? "%.0f MB" : "%.1f MB", megabytes);
    }

    /** A message as a sentence: those of the native side and of the JSON reader begin small and end without a stop. */
    static String sentence(String message) {
        if (message == null || message.isEmpty()) return "It failed without a reason.";
        String start = Character.toUpperCase(message.charAt(0)) + message.substring(1);
        return start.endsWith(".") ? start : start + ".";
    }

    static String count(long number, String noun) {
        return number + " " + noun + (number == 1 ? "" : "s");
    }
}
