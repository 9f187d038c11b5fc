package org.lowbit.demo.android;

import android.webkit.JavascriptInterface;
import org.lowbit.demo.core.Core;

/** What the page sees of the app: one method, strings in and out. WebView calls it on a thread of its own. */
final class Bridge {
    private final Core core;

    Bridge(Core core) {
        this.core = core;
    }

    @JavascriptInterface
    public String call(String request) {
        return core.call(request);
    }
}
