package android.view;

import android.content.Context;

public abstract class Window {
    public Window(Context context) {}

    public native void addFlags(int flags);

    public native void clearFlags(int flags);
}
