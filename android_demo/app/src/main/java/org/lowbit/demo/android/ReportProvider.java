package org.lowbit.demo.android;

import android.content.ContentProvider;
import android.content.ContentValues;
import android.database.Cursor;
import android.database.MatrixCursor;
import android.net.Uri;
import android.os.ParcelFileDescriptor;
import android.provider.OpenableColumns;
import java.io.File;
import java.io.FileNotFoundException;
import org.lowbit.demo.core.Core;

/** Lets the app that the user shares a report with read its files, and no others. */
public final class ReportProvider extends ContentProvider {
    private static final String AUTHORITY = "org.lowbit.demo.report"; // also in AndroidManifest.xml

    static Uri uriOf(File file) {
        return new Uri.Builder().scheme("content").authority(AUTHORITY).path(file.getName()).build();
    }

    @Override
    public boolean onCreate() {
        return true;
    }

    @Override
    public ParcelFileDescriptor openFile(Uri uri, String mode) throws FileNotFoundException {
        if (!mode.equals("r")) throw new FileNotFoundException("reports can only be read");
        return ParcelFileDescriptor.open(find(uri), ParcelFileDescriptor.MODE_READ_ONLY);
    }

    @Override
    public String getType(Uri uri) {
        return Core.contentType(String.valueOf(uri.getLastPathSegment())).split(";")[0];
    }

    /** Name and size, which receivers ask for. */
    @Override
    public Cursor query(Uri uri, String[] columns, String where, String[] values, String order) {
        MatrixCursor cursor = new MatrixCursor(new String[] {OpenableColumns.DISPLAY_NAME, OpenableColumns.SIZE}, 1);
        try {
            File file = find(uri);
            cursor.addRow(new Object[] {file.getName(), file.length()});
        } catch (FileNotFoundException error) {
            return cursor; // without a row
        }
        return cursor;
    }

    @Override
    public Uri insert(Uri uri, ContentValues values) {
        throw new UnsupportedOperationException("reports can only be read");
    }

    @Override
    public int update(Uri uri, ContentValues values, String where, String[] arguments) {
        throw new UnsupportedOperationException("reports can only be read");
    }

    @Override
    public int delete(Uri uri, String where, String[] arguments) {
        throw new UnsupportedOperationException("reports can only be read");
    }

    private File find(Uri uri) throws FileNotFoundException {
        File folder = Core.reportFolder(getContext().getFilesDir());
        File[] files = folder.listFiles();
        for (File file : files == null ? new File[0] : files) {
            if (uri.getPathSegments().size() == 1 && file.getName().equals(uri.getLastPathSegment())) return file;
        }
        throw new FileNotFoundException("there is no report " + uri);
    }
}
