package android.webkit;

public abstract class WebSettings {
    public abstract void setAllowContentAccess(boolean allow);

    public abstract void setAllowFileAccess(boolean allow);

    public abstract void setJavaScriptEnabled(boolean enabled);
}
