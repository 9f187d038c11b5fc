/**
 * The page's only way to the app: calls that answer, and events that come by themselves.
 *
 * On Android `window.LowBit` is the app and events arrive through `onHostEvent`; on a desktop a server is.
 */

const listeners = new Map(); // by the event's name

/** Call the app; rejects with an Error whose message is a sentence for the user. */
export async function call(name, values = {}) {
  const request = JSON.stringify({ call: name, ...values });
  const reply = JSON.parse(window.LowBit ? window.LowBit.call(request) : await post(request));
  if (!reply.ok) throw new Error(reply.error);
  return reply.result;
}

async function post(request) {
  try {
    const response = await fetch("bridge", { method: "POST", body: request });
    return await response.text();
  } catch {
    throw new Error("The app does not answer; start it again.");
  }
}

/** Listen to one kind of event; the listener gets its content. */
export function listen(name, listener) {
  listeners.set(name, [...(listeners.get(name) ?? []), listener]);
}

function dispatch(event) {
  for (const listener of listeners.get(event.event) ?? []) listener(event);
}

/** Begin to receive events; resolves when none is missed any more. After a gap comes the event "reconnected". */
export function connect() {
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") dispatch({ event: "reconnected" });
  });
  window.onHostEvent = (event) => dispatch(typeof event === "string" ? JSON.parse(event) : event);
  if (window.LowBit) return Promise.resolve();
  return new Promise((resolve) => {
    const source = new EventSource("events");
    let isFirst = true;
    source.onmessage = (message) => dispatch(JSON.parse(message.data));
    source.onopen = () => {
      if (!isFirst) dispatch({ event: "reconnected" });
      isFirst = false;
      resolve();
    };
    source.onerror = () => resolve();
  });
}

/** The bytes of a file that comes with a program. */
export async function fileOf(model, name) {
  const response = await fetch(`models/${encodeURIComponent(model)}/${encodeURIComponent(name)}`);
  if (!response.ok) throw new Error(`${name} of this program cannot be read; add the program again.`);
  return new Uint8Array(await response.arrayBuffer());
}
