package android.content;

import android.database.Cursor;
import android.net.Uri;
import java.io.FileNotFoundException;
import java.io.InputStream;

public abstract class ContentResolver {
    public ContentResolver(Context context) {}

    public final native InputStream openInputStream(Uri uri) throws FileNotFoundException;

    public final native Cursor query(Uri uri, String[] columns, String where, String[] arguments, String order);
}
