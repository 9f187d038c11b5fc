package android.app;

import android.content.Intent;
import android.os.Bundle;
import android.view.ContextThemeWrapper;
import android.view.View;
import android.view.Window;

public class Activity extends ContextThemeWrapper {
    public static final int RESULT_OK = -1;

    public final native Application getApplication();

    public native Window getWindow();

    public native boolean isChangingConfigurations();

    protected native void onActivityResult(int request, int result, Intent data);

    public native void onBackPressed();

    protected native void onCreate(Bundle saved);

    protected native void onDestroy();

    protected native void onSaveInstanceState(Bundle state);

    protected native void onStop();

    public native void recreate();

    public native void setContentView(View view);

    public native void startActivityForResult(Intent intent, int request);
}
