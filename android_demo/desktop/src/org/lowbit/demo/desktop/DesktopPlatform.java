package org.lowbit.demo.desktop;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.lowbit.demo.core.Core;
import org.lowbit.demo.core.DeviceReadings;
import org.lowbit.demo.core.Platform;
import org.lowbit.demo.core.ProgramSource;

/** A desktop in the place of Android: folders instead of the picker, a page instead of the share sheet. */
final class DesktopPlatform implements Platform {
    private final File data;
    private final List<File> models;
    private final File readings;
    private final EventStreams events;
    private final CountDownLatch installed = new CountDownLatch(1);
    private Core core;

    /**
     * @param models folders of exports, which stand for the programs that come with the app
     * @param readings properties that stand for a device's sensors, read anew each time; null for none
     */
    DesktopPlatform(File data, List<File> models, File readings, EventStreams events) {
        this.data = data;
        this.models = models;
        this.readings = readings;
        this.events = events;
    }

    void use(Core core) {
        this.core = core;
    }

    /** Waits until the core has told that the programs are ready. */
    void awaitPrograms() throws IOException {
        try {
            installed.await();
        } catch (InterruptedException error) {
            throw new IOException(error);
        }
    }

    @Override
    public File dataFolder() {
        data.mkdirs();
        return data;
    }

    @Override
    public List<ProgramSource> embeddedPrograms() {
        List<ProgramSource> sources = new ArrayList<ProgramSource>();
        for (File model : models) sources.add(folder(model));
        return sources;
    }

    @Override
    public DeviceReadings readings() {
        DeviceReadings now = new DeviceReadings();
        now.version = "desktop";
        if (readings == null) return now;
        Properties told = new Properties();
        try (InputStream in = new FileInputStream(readings)) {
            told.load(in);
        } catch (IOException error) {
            return now; // it is being written
        }
        now.name = told.getProperty("name");
        String memory = told.getProperty("memory_bytes");
        String temperature = told.getProperty("temperature_c");
        String battery = told.getProperty("battery_percent");
        String charging = told.getProperty("charging");
        String throttling = told.getProperty("throttling");
        now.memoryBytes = memory == null ? null : Long.valueOf(memory);
        now.temperatureCelsius = temperature == null ? null : Double.valueOf(temperature);
        now.batteryPercent = battery == null ? null : Integer.valueOf(battery);
        now.charging = charging == null ? null : Boolean.valueOf(charging);
        now.throttling = throttling == null ? null : Boolean.valueOf(throttling);
        return now;
    }

    @Override
    public void pickProgram(String path) throws IOException {
        if (path == null || path.isEmpty()) throw new IOException("Give the folder that export wrote.");
        File chosen = new File(path);
        if (!chosen.isDirectory()) throw new IOException("There is no folder " + path + ".");
        core.addProgram(folder(chosen));
    }

    @Override
    public void share(List<File> files) {
        // The files are in the data folder, where the user finds them.
    }

    @Override
    public void keepAwake(boolean on) {
        // A desktop does not sleep within minutes.
    }

    @Override
    public void send(String event) {
        if (event.contains("\"models.changed\"")) installed.countDown();
        events.send(event);
    }

    private static ProgramSource folder(final File folder) {
        return new ProgramSource() {
            @Override
            public InputStream open(String name) throws IOException {
                return new FileInputStream(new File(folder, name));
            }
        };
    }
}
