package android.content;

import android.net.Uri;

public class ClipData {
    private ClipData() {}

    public native void addItem(Item item);

    public native Item getItemAt(int index);

    public native int getItemCount();

    public static native ClipData newRawUri(CharSequence label, Uri uri);

    public static class Item {
        public Item(Uri uri) {}

        public native Uri getUri();
    }
}
