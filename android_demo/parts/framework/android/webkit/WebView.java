package android.webkit;

import android.content.Context;
import android.os.Bundle;
import android.widget.AbsoluteLayout;

public class WebView extends AbsoluteLayout {
    public WebView(Context context) {
        super(context);
    }

    public native void addJavascriptInterface(Object object, String name);

    public native boolean canGoBack();

    public native void destroy();

    public native void evaluateJavascript(String script, ValueCallback<String> callback);

    public native WebSettings getSettings();

    public native void goBack();

    public native void loadUrl(String url);

    public native WebBackForwardList restoreState(Bundle state);

    public native WebBackForwardList saveState(Bundle state);

    public native void setWebViewClient(WebViewClient client);
}
