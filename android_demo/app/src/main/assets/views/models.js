/** The view of the programs: what each costs, which one answers, add and delete. */

import { attempt, confirmed, h, icon, notify, openDialog } from "../dom.js";
import { call, listen } from "../host.js";
import { bitsOf, chosen, nameOf, set, store, watch } from "../store.js";
import { bytes, significant } from "../words.js";

export function showModels(main) {
  const list = h("div", { class: "families" });
  const device = h("p", { class: "lead" });
  const add = h(
    "button",
    { class: "primary", click: () => attempt(() => addProgram(add)) },
    icon("add"),
    "Add a program",
  );
  for (const event of ["models.changed", "error", "reconnected"])
    listen(event, () => add.removeAttribute("aria-busy"));
  main.append(h("header", { class: "view-head" }, h("div", {}, h("h1", {}, "Models"), device), add), list);
  watch(() => {
    device.textContent = deviceLine(store.device);
    const names = [...new Set(store.models.map((model) => model.model))];
    list.replaceChildren(...(names.length ? names.map(family) : [empty()]));
  });
}

function deviceLine({ name, abi, cores, memory_bytes, free_bytes }) {
  return `${name}, ${abi}, ${cores.length} cores, ${bytes(memory_bytes)} of memory, ${bytes(free_bytes)} of storage free`;
}

/** The system's file picker on Android; a desktop has none and asks for the folder's path. */
async function addProgram(button) {
  let path;
  if (!window.LowBit) {
    const box = h("input", {
      type: "text",
      required: true,
      placeholder: "/home/me/exported/model-2bit",
      spellcheck: "false",
    });
    const form = h(
      "form",
      {},
      h("label", { class: "field" }, h("span", { class: "label" }, "Folder that export.to_pte wrote"), box),
      h("div", { class: "row end" }, h("button", { class: "primary" }, "Add")),
    );
    const { dialog, closed } = openDialog("Add a program", form);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close(box.value.trim());
    });
    path = await closed;
    if (!path) return;
  }
  await call("models.add", path === undefined ? {} : { path });
  button.setAttribute("aria-busy", "true");
}

function empty() {
  return h(
    "p",
    { class: "lead" },
    "No program yet. Add one that python -m export.to_pte wrote: the folder's model.pte, manifest.json and tokenizer.",
  );
}

function family(name) {
  const models = store.models.filter((model) => model.model === name);
  const most = Math.max(...models.map((model) => model.file_bytes));
  return h(
    "section",
    { class: "family-card" },
    h("h2", {}, name, weightsNote(models)),
    h(
      "ul",
      { class: "programs" },
      models.map((model) => program(model, most)),
    ),
  );
}

function weightsNote(models) {
  const kinds = [...new Set(models.map((model) => model.weights))];
  return h("small", {}, kinds.length === 1 ? `${kinds[0]} weights` : "");
}

function program(model, most) {
  const isChosen = chosen()?.id === model.id;
  const choose = () => {
    attempt(async () => {
      await set({ model: model.id });
      location.hash = "chat";
    });
  };
  const canAnswer = model.refusal === null && model.tokenizer !== null;
  const use = h(
    "button",
    { class: isChosen ? "chip chosen" : "chip", "aria-label": `Talk to ${nameOf(model)}`, click: choose },
    "Talk",
  );
  const remove = h(
    "button",
    {
      class: "quiet round",
      "aria-label": `Delete ${nameOf(model)} of ${model.model}`,
      click: () => attempt(() => removeProgram(model)),
    },
    icon("bin"),
  );
  const size = h("div", { class: "share", "aria-hidden": "true" }, h("i"));
  size.firstChild.style.width = `${(100 * model.file_bytes) / most}%`;
  return h(
    "li",
    { class: isChosen ? "program current" : "program" },
    h(
      "div",
      { class: "badge", "aria-hidden": "true" },
      h("b", {}, bitsOf(model)),
      h("small", {}, model.recipe === "lowbit" ? (model.bits === 1 ? "bit" : "bits") : "XNNPACK"),
    ),
    h("div", { class: "facts" }, h("h3", {}, nameOf(model)), facts(model), size),
    h("div", { class: "row" }, canAnswer ? use : null, model.embedded ? null : remove),
    model.refusal ? h("p", { class: "refusal" }, model.refusal) : null,
  );
}

function facts(model) {
  const quality = model.perplexity === null ? null : fact(significant(model.perplexity), "perplexity");
  const room = fact(model.max_seq_len.toLocaleString("en"), "tokens");
  return h(
    "p",
    { class: "fact-line" },
    fact(bytes(model.file_bytes), "on disk"),
    quality,
    room,
    h("span", {}, `${model.kv_cache} cache`),
  );
}

function fact(value, name) {
  return h("span", {}, h("b", {}, value), ` ${name}`);
}

async function removeProgram(model) {
  if (!(await confirmed(`Delete ${nameOf(model)} of ${model.model}?`, "Delete"))) return;
  await call("models.delete", { id: model.id });
  notify("Deleted.");
}
