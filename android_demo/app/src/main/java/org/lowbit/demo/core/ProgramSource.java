package org.lowbit.demo.core;

import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;

/** Files of an export, from wherever they come: the app's assets, the system's file picker, a folder. */
public interface ProgramSource {
    /**
     * Opens a file by the name that export gave it.
     *
     * @throws FileNotFoundException there is none of that name
     */
    InputStream open(String name) throws IOException;
}
