package org.lowbit.demo.core;

import java.math.BigDecimal;
import java.math.MathContext;
import java.math.RoundingMode;
import java.util.Collection;
import java.util.Map;
import java.util.TreeMap;

/**
 * Writes JSON exactly as Python's {@code json.dumps} does, because a manifest's checksum is a hash of that text. It is
 * ASCII, so it may also stand in a script.
 */
final class JsonText {
    private final StringBuilder out = new StringBuilder();
    private final boolean sorted;

    private JsonText(boolean sorted) {
        this.sorted = sorted;
    }

    /** The text of a JsonObject, Collection, String, Number, Boolean or null. */
    static String of(Object value) {
        return new JsonText(false).add(value).out.toString();
    }

    /** The same with every object's names in order: {@code json.dumps(value, sort_keys=True)}. */
    static String sorted(Object value) {
        return new JsonText(true).add(value).out.toString();
    }

    private JsonText add(Object value) {
        if (value instanceof JsonObject) {
            addObject(((JsonObject) value).members());
        } else if (value instanceof Collection) {
            addList((Collection<?>) value);
        } else if (value instanceof String) {
            addString((String) value);
        } else if (value instanceof Double || value instanceof Float) {
            out.append(number(((Number) value).doubleValue()));
        } else if (value == null || value instanceof Boolean || value instanceof Long || value instanceof Integer) {
            out.append(value);
        } else {
            throw new IllegalArgumentException("JSON has no " + value.getClass().getSimpleName());
        }
        return this;
    }

    private void addObject(Map<String, Object> members) {
        String separator = "";
        out.append('{');
        Map<String, Object> inOrder = sorted ? new TreeMap<String, Object>(members) : members;
        for (Map.Entry<String, Object> member : inOrder.entrySet()) {
            out.append(separator);
            addString(member.getKey());
            out.append(": ");
            add(member.getValue());
            separator = ", ";
        }
        out.append('}');
    }

    private void addList(Collection<?> values) {
        String separator = "";
        out.append('[');
        for (Object value : values) {
            out.append(separator);
            add(value);
            separator = ", ";
        }
        out.append(']');
    }

    private void addString(String text) {
        out.append('"');
        for (int i = 0; i < text.length(); ++i) {
            char c = text.charAt(i);
            int which = "\"\\\b\f\n\r\t".indexOf(c);
            if (which >= 0) {
                out.append('\\').append("\"\\bfnrt".charAt(which));
            } else if (c >= ' ' && c <= '~') {
                out.append(c);
            } else {
                out.append(String.format("\\u%04x", (int) c));
            }
        }
        out.append('"');
    }

    /** The shortest digits that read as the same number, laid out as Python's {@code repr}. */
    private static String number(double value) {
        if (Double.isNaN(value) || Double.isInfinite(value)) {
            throw new IllegalArgumentException("JSON has no " + value);
        }
        if (value == 0) return 1 / value < 0 ? "-0.0" : "0.0";
        BigDecimal shortest = shortest(value);
        String digits = shortest.unscaledValue().abs().toString();
        String sign = value < 0 ? "-" : "";
        int exponent = digits.length() - 1 - shortest.scale();
        if (exponent >= -4 && exponent < 16) {
            String plain = shortest.abs().toPlainString();
            return sign + plain + (plain.indexOf('.') < 0 ? ".0" : "");
        }
        String rest = digits.length() > 1 ? "." + digits.substring(1) : "";
        int size = Math.abs(exponent);
        return sign + digits.charAt(0) + rest + (exponent < 0 ? "e-" : "e+") + (size < 10 ? "0" : "") + size;
    }

    /**
     * Double.toString gives too many digits for some numbers before Java 19. Rounding to the nearest misses the
     * shortest where the neighbours of a power of two lie unevenly, so the next one up is tried too.
     */
    private static BigDecimal shortest(double value) {
        BigDecimal exact = new BigDecimal(value);
        for (int digits = 1; digits <= 17; ++digits) {
            for (RoundingMode mode : new RoundingMode[] {RoundingMode.HALF_EVEN, RoundingMode.UP}) {
                BigDecimal rounded = exact.round(new MathContext(digits, mode)).stripTrailingZeros();
                if (Double.parseDouble(rounded.toString()) == value) return rounded;
            }
        }
        throw new AssertionError("17 digits name every double");
    }
}
