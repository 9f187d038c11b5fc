package android.database;

import java.io.Closeable;

public interface Cursor extends Closeable {
    @Override
    void close();

    String getString(int column);

    boolean isNull(int column);

    boolean moveToFirst();
}
