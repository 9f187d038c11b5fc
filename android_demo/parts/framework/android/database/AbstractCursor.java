package android.database;

public abstract class AbstractCursor implements Cursor {
    @Override
    public native void close();

    @Override
    public native boolean moveToFirst();
}
