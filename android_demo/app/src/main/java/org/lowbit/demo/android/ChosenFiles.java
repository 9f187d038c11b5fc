package org.lowbit.demo.android;

import android.content.ContentResolver;
import android.database.Cursor;
import android.net.Uri;
import android.provider.OpenableColumns;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.util.List;
import java.util.regex.Pattern;
import org.lowbit.demo.core.ProgramSource;

/** The files that the user chose in the system's picker, by their names. */
final class ChosenFiles implements ProgramSource {
    /** A second download of a name gets a number: "manifest (1).json". Hashes tell whether it is the right file. */
    private static final Pattern NUMBER = Pattern.compile(" ?\\([0-9]+\\)(?=\\.[^.]*$)");

    private final ContentResolver resolver;
    private final List<Uri> chosen;

    ChosenFiles(ContentResolver resolver, List<Uri> chosen) {
        this.resolver = resolver;
        this.chosen = chosen;
    }

    @Override
    public InputStream open(String name) throws IOException {
        for (Uri uri : chosen) {
            if (NUMBER.matcher(nameOf(uri)).replaceFirst("").equals(name)) return open(uri);
        }
        throw new FileNotFoundException(name);
    }

    private InputStream open(Uri uri) throws IOException {
        InputStream in = resolver.openInputStream(uri);
        if (in == null) throw new IOException("the app that holds it gave nothing");
        return in;
    }

    private String nameOf(Uri uri) {
        Cursor found = resolver.query(uri, new String[] {OpenableColumns.DISPLAY_NAME}, null, null, null);
        if (found == null) return "";
        try {
            return found.moveToFirst() && !found.isNull(0) ? found.getString(0) : "";
        } finally {
            found.close();
        }
    }
}
