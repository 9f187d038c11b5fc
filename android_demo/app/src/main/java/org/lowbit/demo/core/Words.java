package org.lowbit.demo.core;

import java.io.IOException;
import java.util.Locale;

/** Amounts as sentences spell them. */
final class Words {
    private Words() {}

    static String bytes(long bytes) {
        double megabytes = bytes / 1e6;
        if (megabytes >= 1000) return String.format(Locale.ROOT, "%.1f GB", megabytes / 1000);
        return String.format(Locale.ROOT, megabytes >= 10 ? "%.0f MB" : "%.1f MB", megabytes);
    }

    /** An error as a sentence: those of the native side and of the JSON reader begin small and end without a stop. */
    static String sentence(IOException error) {
        String message = String.valueOf(error.getMessage());
        if (error instanceof Refusal || message.isEmpty()) return message;
        return Character.toUpperCase(message.charAt(0)) + message.substring(1) + (message.endsWith(".") ? "" : ".");
    }

    static String count(long number, String noun) {
        return number + " " + noun + (number == 1 ? "" : "s");
    }
}
