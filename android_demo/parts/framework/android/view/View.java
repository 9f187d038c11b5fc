package android.view;

public class View {
    public native void setPadding(int left, int top, int right, int bottom);
}
