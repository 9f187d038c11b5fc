/** Build elements; whatever is shown as text is inserted as text, never as markup. */

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: attributes (null and false leave one out, functions listen to an event), then its children. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function s(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/** An icon of the set below, drawn by strokes. */
export function icon(name) {
  return s(
    "svg",
    { viewBox: "0 0 24 24", "aria-hidden": "true", class: "icon" },
    s("path", { d: ICONS[name] }),
  );
}

const ICONS = {
  add: "M12 5v14M5 12h14",
  bin: "M5 7h14M10 7V4h4v3m-7 0 1 13h8l1-13M10 11v5m4-5v5",
  close: "M6 6l12 12M18 6 6 18",
  columns: "M4 5h7v14H4V5Zm9 0h7v14h-7V5Z",
  list: "M4 6h16M4 12h16M4 18h10",
  send: "M5 12h13m-5-6 6 6-6 6",
  share: "M12 15V4m-4 4 4-4 4 4M6 12v8h12v-8",
  sliders: "M4 7h10m4 0h2M4 17h2m4 0h10M14 4v6M8 14v6",
  stop: "M7 7h10v10H7V7Z",
};

let dialogs = 0;
const openDialogs = [];

/**
 * Open a dialog that slides in from below on phones; resolves with its return value when it closes. It is a step
 * of the history, so that the back button closes it first.
 */
export function openDialog(title, ...content) {
  const id = `dialog-${(dialogs += 1)}`;
  const shut = h(
    "button",
    { class: "quiet round", "aria-label": "Close", click: () => dialog.close() },
    icon("close"),
  );
  const heading = h("header", {}, h("h2", { id }, title), shut);
  const dialog = h(
    "dialog",
    { "aria-labelledby": id },
    heading,
    h("div", { class: "dialog-body" }, ...content),
  );
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  document.body.append(dialog);
  dialog.showModal();
  openDialogs.push(dialog);
  history.pushState({ dialogs: openDialogs.length }, "");
  const closed = new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      openDialogs.splice(openDialogs.indexOf(dialog), 1);
      if (shownBy(history.state) > openDialogs.length) history.back(); // it was closed in another way
      resolve(dialog.returnValue);
    });
  });
  return { dialog, closed };
}

/** How many dialogs lie open at a step of the history. */
function shownBy(state) {
  return state?.dialogs ?? 0;
}

window.addEventListener("popstate", ({ state }) => {
  openDialogs.slice(shownBy(state)).forEach((dialog) => dialog.close());
});

/** Ask before something is lost. */
export async function confirmed(question, action) {
  const answer = (value) => () => opened.dialog.close(value);
  const opened = openDialog(
    question,
    h(
      "div",
      { class: "row end" },
      h("button", { class: "quiet", click: answer("") }, "Cancel"),
      h("button", { class: "danger", click: answer("yes") }, action),
    ),
  );
  return (await opened.closed) === "yes";
}

/** Show a sentence for some seconds, or until it is dismissed. */
export function notify(sentence, kind = "info") {
  const shut = h(
    "button",
    { class: "quiet round", "aria-label": "Dismiss", click: () => notice.remove() },
    icon("close"),
  );
  const notice = h("p", { class: `notice ${kind}` }, h("span", {}, sentence), shut);
  const box = document.querySelector(".notices");
  [...box.children]
    .filter((each) => each.textContent === notice.textContent)
    .forEach((each) => each.remove());
  box.append(notice);
  setTimeout(() => notice.remove(), kind === "error" ? 12000 : 5000);
}

/** Run an action of the user; what fails becomes a notice. */
export async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    notify(error.message, "error");
    return undefined;
  }
}
