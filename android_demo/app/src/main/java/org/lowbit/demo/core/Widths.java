package org.lowbit.demo.core;

import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/** The widths that a program can run at, in bits of a weight; see edge/formats/elastic.py. */
final class Widths {
    /** The format that a manifest names. */
    static final String ELASTIC = "elastic";
    private static final List<Long> OF_ELASTIC = Arrays.asList(2L, 3L, 4L, 5L, 6L, 7L, 8L);

    /** None of an ordinary program, whose width is fixed. */
    final List<Long> held;

    /** Those of a program whose manifest names this format. */
    Widths(String format) {
        held = format.equals(ELASTIC) ? OF_ELASTIC : Collections.<Long>emptyList();
    }

    boolean areElastic() {
        return !held.isEmpty();
    }

    /** Checks a width that is asked for and returns it; 0 gives the widest, and of an ordinary program 0. */
    long chosen(long asked) throws Refusal {
        if (asked == 0) return areElastic() ? Collections.max(held) : 0;
        if (held.contains(asked)) return asked;
        throw new Refusal(areElastic()
                ? "An elastic program holds 2 to 8 bits, not " + asked + ": choose one of these."
                : "This program is not elastic, so its width is fixed: export it with --bits elastic.");
    }

    /** Checks the width that the settings hold for all elastic programs. */
    static void checkSetting(long width) throws Refusal {
        if (width == 0 || OF_ELASTIC.contains(width)) return;
        throw new Refusal("width must lie in 2..8, or be 0 for the widest, not " + width + ".");
    }
}
