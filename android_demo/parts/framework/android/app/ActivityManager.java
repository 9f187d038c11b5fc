package android.app;

public class ActivityManager {
    private ActivityManager() {}

    public native void getMemoryInfo(MemoryInfo info);

    public static class MemoryInfo {
        public long totalMem;
    }
}
