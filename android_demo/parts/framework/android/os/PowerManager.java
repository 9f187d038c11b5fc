package android.os;

public final class PowerManager {
    public static final int THERMAL_STATUS_MODERATE = 2;

    private PowerManager() {}

    public native int getCurrentThermalStatus();
}
