package android.content;

import android.database.Cursor;
import android.net.Uri;
import android.os.ParcelFileDescriptor;
import java.io.FileNotFoundException;

public abstract class ContentProvider {
    public abstract int delete(Uri uri, String where, String[] arguments);

    public final native Context getContext();

    public abstract String getType(Uri uri);

    public abstract Uri insert(Uri uri, ContentValues values);

    public abstract boolean onCreate();

    public native ParcelFileDescriptor openFile(Uri uri, String mode) throws FileNotFoundException;

    public abstract Cursor query(Uri uri, String[] columns, String where, String[] arguments, String order);

    public abstract int update(Uri uri, ContentValues values, String where, String[] arguments);
}
