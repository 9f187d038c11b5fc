package android.content;

import android.net.Uri;
import android.os.Parcelable;
import java.util.ArrayList;

public class Intent {
    public static final String ACTION_BATTERY_CHANGED = "android.intent.action.BATTERY_CHANGED";
    public static final String ACTION_OPEN_DOCUMENT = "android.intent.action.OPEN_DOCUMENT";
    public static final String ACTION_SEND_MULTIPLE = "android.intent.action.SEND_MULTIPLE";
    public static final String CATEGORY_OPENABLE = "android.intent.category.OPENABLE";
    public static final String EXTRA_ALLOW_MULTIPLE = "android.intent.extra.ALLOW_MULTIPLE";
    public static final String EXTRA_STREAM = "android.intent.extra.STREAM";
    public static final int FLAG_GRANT_READ_URI_PERMISSION = 1;

    public Intent(String action) {}

    public native Intent addCategory(String category);

    public native Intent addFlags(int flags);

    public static native Intent createChooser(Intent target, CharSequence title);

    public native ClipData getClipData();

    public native Uri getData();

    public native int getIntExtra(String name, int otherwise);

    public native Intent putExtra(String name, boolean value);

    public native Intent putParcelableArrayListExtra(String name, ArrayList<? extends Parcelable> value);

    public native void setClipData(ClipData clip);

    public native Intent setType(String type);
}
