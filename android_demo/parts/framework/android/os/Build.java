package android.os;

public class Build {
    // The phone's own values: none is a constant that the compiler may copy.
    public static final String MANUFACTURER = null;
    public static final String MODEL = null;
    public static final String SOC_MODEL = null;
    public static final String UNKNOWN = "unknown";

    public static class VERSION {
        public static final int SDK_INT = Integer.parseInt("0");
    }
}
