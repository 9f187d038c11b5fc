package org.lowbit.demo.core;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/** Files that are whole at every moment, whenever the process dies. */
final class DataFiles {
    private static final String UTF_8 = "UTF-8";

    private DataFiles() {}

    /** Writes beside the file, then takes its place in one step. */
    static void write(File file, String text) throws Refusal {
        File staged = new File(file.getParentFile(), "." + file.getName() + ".new");
        try {
            FileOutputStream out = new FileOutputStream(staged);
            try {
                out.write(text.getBytes(UTF_8));
                out.getFD().sync();
            } finally {
                out.close();
            }
            if (!staged.renameTo(file)) throw new IOException("it cannot be put in its place");
        } catch (IOException error) {
            staged.delete();
            String name = file.getName();
            throw new Refusal(name + " could not be saved: " + reason(error) + "; make room and try again.", error);
        }
    }

    static String read(File file) throws IOException {
        InputStream in = new FileInputStream(file);
        try {
            return read(in, Integer.MAX_VALUE);
        } finally {
            in.close();
        }
    }

    /** Reads a whole text. Throws IOException if it has more than {@code most} bytes. */
    static String read(InputStream in, int most) throws IOException {
        ByteArrayOutputStream content = new ByteArrayOutputStream();
        byte[] buffer = new byte[1 << 14];
        for (int count; (count = in.read(buffer)) >= 0; ) {
            content.write(buffer, 0, count);
            if (content.size() > most) throw new IOException("it is too large");
        }
        return content.toString(UTF_8);
    }

    static String sha256(File file) throws IOException {
        InputStream in = new FileInputStream(file);
        try {
            MessageDigest digest = sha256();
            byte[] buffer = new byte[1 << 16];
            for (int count; (count = in.read(buffer)) >= 0; ) digest.update(buffer, 0, count);
            return hex(digest);
        } finally {
            in.close();
        }
    }

    static String sha256(String ascii) throws IOException {
        MessageDigest digest = sha256();
        digest.update(ascii.getBytes(UTF_8));
        return hex(digest);
    }

    static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException error) {
            throw new AssertionError(error); // every Java has it
        }
    }

    static String hex(MessageDigest digest) {
        StringBuilder text = new StringBuilder();
        for (byte each : digest.digest()) text.append(String.format("%02x", each));
        return text.toString();
    }

    /** Makes a folder and those above it. */
    static File folder(File parent, String name) throws IOException {
        File folder = new File(parent, name);
        if (folder.isDirectory() || folder.mkdirs()) return folder;
        throw new Refusal("The folder " + name + " could not be made: make room on the device and try again.");
    }

    /** Removes a file, or a folder with all that is in it. */
    static void remove(File file) {
        for (File inside : children(file)) remove(inside);
        file.delete();
    }

    /** What a folder holds; nothing where it is none. */
    static File[] children(File folder) {
        File[] found = folder.listFiles();
        return found == null ? new File[0] : found;
    }

    /** The system's reason without the path that it begins with, such as "No space left on device". */
    static String reason(IOException error) {
        String message = String.valueOf(error.getMessage());
        int bracket = message.lastIndexOf('(');
        return bracket >= 0 && message.endsWith(")") ? message.substring(bracket + 1, message.length() - 1) : message;
    }
}
