package org.lowbit.demo.core;

import java.io.File;
import java.io.IOException;
import java.util.List;

/** What the core needs from where it runs: Android's framework, or a desktop. */
public interface Platform {
    /** A folder of the app's own, which stays. */
    File dataFolder();

    /** The programs that came with the app. */
    List<ProgramSource> embeddedPrograms() throws IOException;

    /** What the device says of itself now. */
    DeviceReadings readings();

    /**
     * Asks the user for the files of a program. {@link Core#addProgram} or {@link Core#addNothing} follows.
     *
     * @param path the folder that the page asks for; null where the system's own dialog asks
     */
    void pickProgram(String path) throws IOException;

    /** Offers files to other apps. */
    void share(List<File> files) throws IOException;

    /** Keeps the screen on, or no longer. Any thread may call it. */
    void keepAwake(boolean on);

    /** Gives an event, a JSON object, to the page. Returns at once; any thread may call it. */
    void send(String event);
}
