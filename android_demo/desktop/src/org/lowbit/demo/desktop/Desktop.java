package org.lowbit.demo.desktop;

import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.lowbit.demo.core.Core;

/** The app on a desktop: the core of the phone behind a server on this computer, whose page any browser shows. */
public final class Desktop {
    private static final String USAGE =
            "--data FOLDER --assets FOLDER... [--models FOLDER...] [--readings FILE] [--port NUMBER]";

    private final List<File> assets = new ArrayList<File>();
    private final List<File> models = new ArrayList<File>();
    private File data;
    private File readings;
    private int port;

    private Desktop() {}

    public static void main(String[] words) throws IOException {
        Desktop desktop = new Desktop();
        try {
            desktop.read(words);
        } catch (IllegalArgumentException error) {
            System.err.println("error: " + error.getMessage() + "; the options are " + USAGE);
            System.exit(2);
        }
        desktop.run();
    }

    private void read(String[] words) {
        String option = "";
        for (String word : words) {
            if (word.startsWith("--")) {
                option = word;
            } else if (option.equals("--data")) {
                data = new File(word);
            } else if (option.equals("--assets")) {
                assets.add(new File(word));
            } else if (option.equals("--models")) {
                models.add(new File(word));
            } else if (option.equals("--readings")) {
                readings = new File(word);
            } else if (option.equals("--port")) {
                port = Integer.parseInt(word);
            } else {
                throw new IllegalArgumentException(word + " follows no option");
            }
        }
        if (data == null || assets.isEmpty()) throw new IllegalArgumentException("--data and --assets are needed");
    }

    /** Serves until the process is ended. Prints the page's address once programs are ready. */
    private void run() throws IOException {
        EventStreams events = new EventStreams();
        DesktopPlatform platform = new DesktopPlatform(data, models, readings, events);
        Core core = new Core(platform);
        platform.use(core);
        core.start();
        platform.awaitPrograms();
        PageServer server = new PageServer(core, assets, events, port);
        System.out.println(server.start());
        System.out.flush();
    }
}
