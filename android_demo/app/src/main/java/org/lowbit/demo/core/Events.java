package org.lowbit.demo.core;

/** Where events for the page go. */
interface Events {
    /** Sends {"event": name} with the members of {@code content}. */
    void send(String name, JsonObject content);
}
