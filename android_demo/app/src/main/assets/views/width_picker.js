/** Choose the program that answers, and the one beside it: rows of bit widths, and the model where there are several. */

import { attempt, h, icon } from "../dom.js";
import { bitsOf, chosen, nameOf, set, store, usable } from "../store.js";
import { bytes } from "../words.js";

/** Elements for the chosen program and, if there is one, the second. */
export function widthPicker(second) {
  const model = chosen();
  if (!model) return [];
  const able = usable().filter((each) => each.tokenizer !== null);
  const same = able.filter((each) => each.model === model.model);
  const choose = (key) => (id) => attempt(() => set({ [key]: id }));
  const rows = [widths("width", second ? "Left" : null, same, model, choose("model"))];
  if (second) rows.push(widths("second", "Right", same, second, choose("side_by_side")));
  return [families(able, model), ...rows].filter(Boolean);
}

/** The button that lets a second program answer too. */
export function besideToggle() {
  const toggle = () => {
    const model = chosen();
    const same = usable().filter((each) => each.tokenizer !== null && each.model === model?.model);
    const isOn = button.getAttribute("aria-pressed") === "true";
    if (same.length < 2) throw new Error("There is no second program of this model; add one under Models.");
    return set({ side_by_side: isOn ? null : partner(same, model).id });
  };
  const button = h(
    "button",
    {
      class: "quiet round",
      "aria-label": "Side by side",
      "aria-pressed": "false",
      click: () => attempt(toggle),
    },
    icon("columns"),
  );
  return button;
}

/** The program to show beside another at first: our own 4 bits, or else the one that differs most. */
function partner(same, model) {
  const others = same.filter((each) => each.id !== model.id);
  const far = [...others].sort((a, b) => Math.abs(b.bits - model.bits) - Math.abs(a.bits - model.bits));
  return others.find((each) => each.bits === 4 && each.recipe === "lowbit") ?? far[0];
}

function families(able, model) {
  const names = [...new Set(able.map((each) => each.model))];
  if (names.length < 2) return null;
  const options = names.map((name) => h("option", { value: name, selected: name === model.model }, name));
  const change = (event) => {
    const same = able.filter((each) => each.model === event.target.value);
    const next = same.find((each) => each.bits === model.bits) ?? same[0];
    attempt(() => set({ model: next.id, side_by_side: null }));
  };
  return h("label", { class: "family" }, h("span", {}, "Model"), h("select", { change }, options));
}

function widths(name, label, same, checked, choose) {
  const option = (model) => {
    const input = h("input", {
      type: "radio",
      name,
      value: model.id,
      checked: model.id === checked.id,
      change: () => choose(model.id),
    });
    const own = model.recipe === "lowbit";
    const sized = `${nameOf(model)}, ${bytes(model.file_bytes)}`;
    return h(
      "label",
      { class: "width", title: sized },
      input,
      h(
        "span",
        { class: "width-box" },
        h("b", { "aria-hidden": "true" }, bitsOf(model)),
        h("small", { "aria-hidden": "true" }, own ? "bit" : "XNN"),
        h("span", { class: "hidden" }, sized),
      ),
    );
  };
  return h(
    "fieldset",
    { class: "widths" },
    h("legend", { class: label ? null : "hidden" }, label ?? "Width"),
    h("div", { class: "width-list" }, same.map(option)),
  );
}
