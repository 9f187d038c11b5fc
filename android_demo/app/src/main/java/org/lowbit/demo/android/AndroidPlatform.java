package org.lowbit.demo.android;

import android.content.Context;
import android.content.res.AssetManager;
import android.os.Handler;
import android.os.Looper;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;
import org.lowbit.demo.core.DeviceReadings;
import org.lowbit.demo.core.Platform;
import org.lowbit.demo.core.ProgramSource;

/** What the core gets from Android. What needs a screen is done on the main thread, by the one that is there. */
final class AndroidPlatform implements Platform {
    private static final String PROGRAMS = "programs";

    private final Context context;
    private final Sensors sensors;
    private final Handler main = new Handler(Looper.getMainLooper());
    private MainActivity screen; // on the main thread only

    AndroidPlatform(Context context) {
        this.context = context;
        sensors = new Sensors(context);
    }

    void show(MainActivity shown) {
        screen = shown;
    }

    void hide(MainActivity gone) {
        if (screen == gone) screen = null;
    }

    @Override
    public File dataFolder() {
        return context.getFilesDir();
    }

    @Override
    public List<ProgramSource> embeddedPrograms() throws IOException {
        List<ProgramSource> sources = new ArrayList<ProgramSource>();
        for (String name : context.getAssets().list(PROGRAMS)) sources.add(assets(PROGRAMS + "/" + name + "/"));
        return sources;
    }

    @Override
    public DeviceReadings readings() {
        return sensors.read();
    }

    @Override
    public void pickProgram(String path) {
        main.post(new Runnable() {
            @Override
            public void run() {
                if (screen != null) screen.pickProgram();
            }
        });
    }

    @Override
    public void share(final List<File> files) {
        main.post(new Runnable() {
            @Override
            public void run() {
                if (screen != null) screen.share(files);
            }
        });
    }

    @Override
    public void keepAwake(final boolean on) {
        main.post(new Runnable() {
            @Override
            public void run() {
                if (screen != null) screen.keepAwake(on);
            }
        });
    }

    /** A page that is not there misses the event; it asks for the state when it is loaded. */
    @Override
    public void send(final String event) {
        main.post(new Runnable() {
            @Override
            public void run() {
                if (screen != null) screen.send(event);
            }
        });
    }

    private ProgramSource assets(final String folder) {
        return new ProgramSource() {
            @Override
            public InputStream open(String name) throws IOException {
                return context.getAssets().open(folder + name, AssetManager.ACCESS_STREAMING);
            }
        };
    }
}
