package android.content.pm;

import android.util.AndroidException;

public abstract class PackageManager {
    public abstract PackageInfo getPackageInfo(String name, int flags) throws NameNotFoundException;

    public static class NameNotFoundException extends AndroidException {}
}
