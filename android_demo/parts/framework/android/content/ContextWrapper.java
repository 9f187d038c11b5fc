package android.content;

import android.content.pm.PackageManager;
import android.content.res.AssetManager;
import java.io.File;

public class ContextWrapper extends Context {
    @Override
    public native Context getApplicationContext();

    @Override
    public native AssetManager getAssets();

    @Override
    public native ContentResolver getContentResolver();

    @Override
    public native File getFilesDir();

    @Override
    public native PackageManager getPackageManager();

    @Override
    public native String getPackageName();

    @Override
    public native Object getSystemService(String name);

    @Override
    public native Intent registerReceiver(BroadcastReceiver receiver, IntentFilter filter);

    @Override
    public native void startActivity(Intent intent);
}
