package org.lowbit.demo.android;

import android.app.Application;
import java.io.IOException;
import org.lowbit.demo.core.Core;

/** The process: it holds the core, which outlives every screen. */
public final class DemoApplication extends Application {
    private AndroidPlatform platform;
    private Core core;

    /** The core, made at its first use; IOException where the app's own folder cannot be written. */
    synchronized Core core() throws IOException {
        if (core == null) {
            platform = new AndroidPlatform(this);
            core = new Core(platform);
            core.start();
        }
        return core;
    }

    @Override
    public void onTrimMemory(int level) {
        super.onTrimMemory(level);
        Core running = runningCore();
        boolean isShort = level == TRIM_MEMORY_RUNNING_CRITICAL || level >= TRIM_MEMORY_BACKGROUND;
        if (isShort && running != null) running.freeMemory();
    }

    private synchronized Core runningCore() {
        return core;
    }

    /** Names the screen that gets events, the picker and the share sheet. */
    void show(MainActivity screen) {
        platform.show(screen);
    }

    /** Takes the screen back, unless a newer one is there already. */
    void hide(MainActivity screen) {
        platform.hide(screen);
    }
}
