package org.lowbit.demo.android;

import android.app.ActivityManager;
import android.content.Context;
import android.content.Intent;
import android.content.IntentFilter;
import android.content.pm.PackageManager;
import android.os.BatteryManager;
import android.os.Build;
import android.os.PowerManager;
import java.util.Locale;
import org.lowbit.demo.core.DeviceReadings;

/** Reads what the phone says of itself. Needs no permission. */
final class Sensors {
    private final Context context;

    Sensors(Context context) {
        this.context = context;
    }

    DeviceReadings read() {
        DeviceReadings now = new DeviceReadings();
        now.name = name();
        now.chip = Build.VERSION.SDK_INT >= 31 && !Build.SOC_MODEL.equals(Build.UNKNOWN) ? Build.SOC_MODEL : null;
        now.version = version();
        now.memoryBytes = memoryBytes();
        readBattery(now);
        PowerManager power = (PowerManager) context.getSystemService(Context.POWER_SERVICE);
        if (Build.VERSION.SDK_INT >= 29) {
            now.throttling = power.getCurrentThermalStatus() >= PowerManager.THERMAL_STATUS_MODERATE;
        }
        return now;
    }

    /** Maker and model, as edge/latency/devices/circumstances.py has them. */
    private static String name() {
        boolean isNamed = Build.MODEL.toLowerCase(Locale.ROOT).startsWith(Build.MANUFACTURER.toLowerCase(Locale.ROOT));
        return isNamed ? Build.MODEL : Build.MANUFACTURER + " " + Build.MODEL;
    }

    private String version() {
        try {
            return context.getPackageManager().getPackageInfo(context.getPackageName(), 0).versionName;
        } catch (PackageManager.NameNotFoundException error) {
            throw new AssertionError(error); // it is this app
        }
    }

    private long memoryBytes() {
        ActivityManager.MemoryInfo memory = new ActivityManager.MemoryInfo();
        ((ActivityManager) context.getSystemService(Context.ACTIVITY_SERVICE)).getMemoryInfo(memory);
        return memory.totalMem;
    }

    /** The system keeps the last announcement of the battery, so nothing has to be registered. */
    private void readBattery(DeviceReadings now) {
        Intent battery = context.registerReceiver(null, new IntentFilter(Intent.ACTION_BATTERY_CHANGED));
        if (battery == null) return;
        int tenths = battery.getIntExtra(BatteryManager.EXTRA_TEMPERATURE, Integer.MIN_VALUE);
        int level = battery.getIntExtra(BatteryManager.EXTRA_LEVEL, -1);
        int scale = battery.getIntExtra(BatteryManager.EXTRA_SCALE, -1);
        if (tenths != Integer.MIN_VALUE) now.temperatureCelsius = tenths / 10.0;
        if (level >= 0 && scale > 0) now.batteryPercent = 100 * level / scale;
        now.charging = battery.getIntExtra(BatteryManager.EXTRA_PLUGGED, 0) != 0;
    }
}
