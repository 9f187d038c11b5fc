package android.content;

import android.content.pm.PackageManager;
import android.content.res.AssetManager;
import java.io.File;

public abstract class Context {
    public static final String ACTIVITY_SERVICE = "activity";
    public static final String POWER_SERVICE = "power";

    public abstract Context getApplicationContext();

    public abstract AssetManager getAssets();

    public abstract ContentResolver getContentResolver();

    public abstract File getFilesDir();

    public abstract PackageManager getPackageManager();

    public abstract String getPackageName();

    public abstract Object getSystemService(String name);

    public abstract Intent registerReceiver(BroadcastReceiver receiver, IntentFilter filter);

    public abstract void startActivity(Intent intent);
}
