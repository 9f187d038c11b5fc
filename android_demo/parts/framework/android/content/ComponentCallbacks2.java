package android.content;

public interface ComponentCallbacks2 {
    int TRIM_MEMORY_BACKGROUND = 40;
    int TRIM_MEMORY_RUNNING_CRITICAL = 15;

    void onTrimMemory(int level);
}
