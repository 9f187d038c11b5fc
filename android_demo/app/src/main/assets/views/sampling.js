/** The dialog with the settings of sampling, the system prompt, and the look of the page. */

import { attempt, h, openDialog } from "../dom.js";
import { chosen, set, store } from "../store.js";

const FIELDS = [
  {
    name: "temperature",
    label: "Temperature",
    hint: "0 always takes the likeliest token",
    type: "range",
    min: 0,
    max: 2,
    step: 0.05,
  },
  {
    name: "top_p",
    label: "Top-p",
    hint: "Of the likeliest tokens, as many as share this much",
    type: "range",
    min: 0.05,
    max: 1,
    step: 0.05,
  },
  {
    name: "top_k",
    label: "Top-k",
    hint: "Of the likeliest tokens, so many; 0 for all",
    type: "number",
    min: 0,
    max: 1000,
    step: 1,
  },
  {
    name: "seed",
    label: "Seed",
    hint: "The same seed gives the same text",
    type: "number",
    min: 0,
    max: 999999999,
    step: 1,
  },
  {
    name: "max_new_tokens",
    label: "Longest answer",
    hint: "In tokens",
    type: "number",
    min: 1,
    max: 100000,
    step: 1,
  },
  {
    name: "threads",
    label: "Threads",
    hint: "0 for one on each fast core",
    type: "number",
    min: 0,
    max: 64,
    step: 1,
  },
];
const THEMES = { system: "As the system", light: "Light", dark: "Dark" };

export function openSampling(talk) {
  const theme = h(
    "select",
    { change: (event) => attempt(() => set({ theme: event.target.value })) },
    Object.entries(THEMES).map(([value, label]) =>
      h("option", { value, selected: value === store.settings.theme }, label),
    ),
  );
  const look = h("label", { class: "field" }, h("span", { class: "label" }, "Colours"), theme);
  openDialog("Settings", chosen()?.chat_template ? systemField(talk) : null, FIELDS.map(field), look);
}

function field({ name, label, hint, type, ...limits }) {
  const shown = h("output", {}, String(store.settings[name]));
  const input = h("input", {
    type,
    ...limits,
    inputmode: type === "number" ? "numeric" : null,
    value: String(store.settings[name]),
  });
  input.addEventListener("input", () => {
    shown.textContent = input.value;
  });
  input.addEventListener("change", () => {
    attempt(async () => {
      if (input.value === "" || !input.checkValidity()) {
        input.value = String(store.settings[name]);
        throw new Error(`${label} must be a number from ${limits.min} to ${limits.max}.`);
      }
      await set({ [name]: input.valueAsNumber });
    });
  });
  const top = h("span", { class: "label" }, label, type === "range" ? shown : null);
  return h("label", { class: "field" }, top, input, h("small", {}, hint));
}

function systemField(talk) {
  const box = h("textarea", { rows: "2", placeholder: "You are brief." });
  box.value = talk.conversation.system;
  box.addEventListener("change", () => {
    talk.conversation.system = box.value.trim();
    if (talk.conversation.id) attempt(() => talk.save());
  });
  return h(
    "label",
    { class: "field" },
    h("span", { class: "label" }, "System prompt"),
    box,
    h("small", {}, "Stands in front of this conversation"),
  );
}
