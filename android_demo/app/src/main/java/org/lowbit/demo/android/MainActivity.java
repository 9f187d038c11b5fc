package org.lowbit.demo.android;

import android.app.Activity;
import android.content.ActivityNotFoundException;
import android.content.ClipData;
import android.content.Intent;
import android.net.Uri;
import android.os.Bundle;
import android.view.WindowManager;
import android.webkit.WebView;
import android.widget.TextView;
import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.lowbit.demo.core.Core;

/**
 * The app's only screen: a WebView with the local page. What matters is in the core and on disk, so that a new
 * screen, or a new process, takes up where the last one was.
 */
public final class MainActivity extends Activity {
    private static final int PICK_PROGRAM = 1;
    private static final String BRIDGE = "LowBit";

    private Core core;
    private WebView page;

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        try {
            core = application().core();
        } catch (IOException error) {
            showSentence(error.getMessage());
            return;
        }
        page = new WebView(this);
        page.getSettings().setJavaScriptEnabled(true);
        page.getSettings().setAllowFileAccess(false);
        page.getSettings().setAllowContentAccess(false);
        page.setWebViewClient(new PageClient(this, core));
        page.addJavascriptInterface(new Bridge(core), BRIDGE);
        setContentView(page);
        application().show(this);
        if (saved == null || page.restoreState(saved) == null) page.loadUrl(PageClient.START);
    }

    @Override
    protected void onSaveInstanceState(Bundle state) {
        super.onSaveInstanceState(state);
        if (page != null) page.saveState(state);
    }

    @Override
    protected void onStop() {
        super.onStop();
        if (core != null && !isChangingConfigurations()) core.background();
    }

    @Override
    protected void onDestroy() {
        super.onDestroy();
        if (page == null) return;
        application().hide(this);
        page.destroy();
        page = null;
    }

    @Override
    public void onBackPressed() {
        if (page != null && page.canGoBack()) {
            page.goBack();
        } else {
            super.onBackPressed();
        }
    }

    /** Gives the page an event. */
    void send(String event) {
        if (page != null) page.evaluateJavascript("onHostEvent(" + event + ")", null);
    }

    void keepAwake(boolean on) {
        if (on) {
            getWindow().addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON);
        } else {
            getWindow().clearFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON);
        }
    }

    /** Opens the system's file picker, in which the user chooses all files of a program together. */
    void pickProgram() {
        Intent pick = new Intent(Intent.ACTION_OPEN_DOCUMENT)
                .addCategory(Intent.CATEGORY_OPENABLE)
                .setType("*/*")
                .putExtra(Intent.EXTRA_ALLOW_MULTIPLE, true);
        try {
            startActivityForResult(pick, PICK_PROGRAM);
        } catch (ActivityNotFoundException error) {
            core.addNothing("This device has no file picker: install an app that manages files.");
        }
    }

    @Override
    protected void onActivityResult(int request, int result, Intent data) {
        if (request != PICK_PROGRAM || core == null) return;
        if (result != RESULT_OK || data == null) {
            core.addNothing();
            return;
        }
        List<Uri> chosen = new ArrayList<Uri>();
        ClipData clip = data.getClipData(); // of several files
        for (int i = 0; clip != null && i < clip.getItemCount(); ++i) chosen.add(clip.getItemAt(i).getUri());
        if (chosen.isEmpty() && data.getData() != null) chosen.add(data.getData());
        core.addProgram(new ChosenFiles(getApplicationContext().getContentResolver(), chosen));
    }

    /** Opens the system's share sheet. */
    void share(List<File> files) {
        ArrayList<Uri> uris = new ArrayList<Uri>();
        for (File file : files) uris.add(ReportProvider.uriOf(file));
        Intent send = new Intent(Intent.ACTION_SEND_MULTIPLE)
                .setType("*/*")
                .putParcelableArrayListExtra(Intent.EXTRA_STREAM, uris)
                .addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION);
        ClipData clip = ClipData.newRawUri(null, uris.get(0)); // the permission follows it
        for (Uri uri : uris.subList(1, uris.size())) clip.addItem(new ClipData.Item(uri));
        send.setClipData(clip);
        startActivity(Intent.createChooser(send, null));
    }

    private DemoApplication application() {
        return (DemoApplication) getApplication();
    }

    /** Shows why the app cannot start. */
    private void showSentence(String sentence) {
        TextView text = new TextView(this);
        text.setText(sentence);
        text.setPadding(48, 96, 48, 48);
        setContentView(text);
    }
}
