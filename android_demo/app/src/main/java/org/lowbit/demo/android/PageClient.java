package org.lowbit.demo.android;

import android.app.Activity;
import android.net.Uri;
import android.webkit.RenderProcessGoneDetail;
import android.webkit.WebResourceRequest;
import android.webkit.WebResourceResponse;
import android.webkit.WebView;
import android.webkit.WebViewClient;
import java.io.ByteArrayInputStream;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.Collections;
import java.util.List;
import org.lowbit.demo.core.Core;

/** Serves the page from the app's assets under an origin of its own, and nothing from elsewhere. */
final class PageClient extends WebViewClient {
    private static final String SCHEME = "https";
    /** The top-level domain "invalid" is reserved, so no server can have this name. */
    private static final String HOST = "appassets.lowbit.invalid";
    static final String START = SCHEME + "://" + HOST + "/index.html";

    private final Activity activity;
    private final Core core;

    PageClient(Activity activity, Core core) {
        this.activity = activity;
        this.core = core;
    }

    @Override
    public WebResourceResponse shouldInterceptRequest(WebView view, WebResourceRequest request) {
        Uri url = request.getUrl();
        try {
            return isOurs(url) ? found(url.getLastPathSegment(), open(url)) : notFound();
        } catch (IOException error) {
            return notFound();
        }
    }

    /** Keeps every link inside the page. */
    @Override
    public boolean shouldOverrideUrlLoading(WebView view, WebResourceRequest request) {
        return !isOurs(request.getUrl());
    }

    /** The system may end the page's own process when memory is short. The core has everything that is needed again. */
    @Override
    public boolean onRenderProcessGone(WebView view, RenderProcessGoneDetail detail) {
        activity.recreate();
        return true;
    }

    private static boolean isOurs(Uri url) {
        return SCHEME.equals(url.getScheme()) && HOST.equals(url.getHost());
    }

    /** Opens /models/ID/FILE from the program's folder, and every other path from the assets. */
    private InputStream open(Uri url) throws IOException {
        List<String> parts = url.getPathSegments();
        if (parts.size() == 3 && parts.get(0).equals("models")) {
            return new FileInputStream(core.programFile(parts.get(1), parts.get(2)));
        }
        return activity.getAssets().open(url.getPath().substring(1));
    }

    private static WebResourceResponse found(String name, InputStream content) {
        String[] type = Core.contentType(name).split("; charset=");
        return new WebResourceResponse(type[0], type.length > 1 ? type[1] : null, content);
    }

    private static WebResourceResponse notFound() {
        InputStream nothing = new ByteArrayInputStream(new byte[0]);
        return new WebResourceResponse(
                "text/plain", "utf-8", 404, "Not Found", Collections.<String, String>emptyMap(), nothing);
    }
}
