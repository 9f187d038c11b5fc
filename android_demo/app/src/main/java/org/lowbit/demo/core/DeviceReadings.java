package org.lowbit.demo.core;

/** What a device says of itself; null for what it does not tell. */
public final class DeviceReadings {
    /** As a reader would call it. */
    public String name;
    /** The name of its chip. */
    public String chip;
    /** Version of the app. */
    public String version;
    public Long memoryBytes;
    public Double temperatureCelsius;
    public Integer batteryPercent;
    public Boolean charging;
    /** Whether the system slows the processor down because the device is too warm. */
    public Boolean throttling;
}
