/** Start the page: connect to the app, read what it knows, show the view that the address names. */

import { notify } from "./dom.js";
import { connect, listen } from "./host.js";
import { load, store, watch } from "./store.js";
import { showChat } from "./views/chat.js";
import { showCompare } from "./views/compare.js";
import { showModels } from "./views/models.js";

const VIEWS = ["models", "chat", "compare"];

function route() {
  const wanted = location.hash.slice(1);
  const view = VIEWS.includes(wanted) ? wanted : "chat";
  for (const name of VIEWS) document.getElementById(name).hidden = name !== view;
  for (const link of document.querySelectorAll(".tabs a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
}

async function start() {
  await connect();
  await load();
  listen("error", (event) => notify(event.error, "error"));
  watch(() => {
    document.documentElement.dataset.theme = store.settings.theme;
  });
  showModels(document.getElementById("models"));
  showCompare(document.getElementById("compare"));
  await showChat(document.getElementById("chat"));
}

history.replaceState(null, ""); // a page that was loaded anew has no dialog open
window.addEventListener("hashchange", route);
route();
start().catch((error) => notify(error.message, "error"));
