package android.net;

import android.os.Parcelable;
import java.util.List;

public abstract class Uri implements Parcelable {
    private Uri() {}

    public abstract String getHost();

    public abstract String getLastPathSegment();

    public abstract String getPath();

    public abstract List<String> getPathSegments();

    public abstract String getScheme();

    public static final class Builder {
        public native Builder authority(String authority);

        public native Uri build();

        public native Builder path(String path);

        public native Builder scheme(String scheme);
    }
}
