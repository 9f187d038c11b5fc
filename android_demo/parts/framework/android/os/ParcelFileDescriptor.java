package android.os;

import java.io.File;
import java.io.FileNotFoundException;

public class ParcelFileDescriptor {
    public static final int MODE_READ_ONLY = 0x10000000;

    private ParcelFileDescriptor() {}

    public static native ParcelFileDescriptor open(File file, int mode) throws FileNotFoundException;
}
