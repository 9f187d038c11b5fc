/** What all views know: the programs, the settings and the device. */

import { call, listen } from "./host.js";
import { bits, bitsNumber } from "./words.js";

const watchers = [];

export const store = { models: [], settings: {}, device: null };

/** Call a function now and after every change of programs or settings. */
export function watch(onChange) {
  watchers.push(onChange);
  onChange();
}

function changed() {
  for (const onChange of watchers) onChange();
}

/** Read everything from the app. */
export async function load() {
  const [models, settings, device] = await Promise.all([
    call("models.list"),
    call("settings.get"),
    call("device.get"),
  ]);
  store.models = models.models;
  store.settings = settings.settings;
  store.device = device;
  listen("models.changed", reloadModels);
  listen("reconnected", reloadModels);
}

async function reloadModels() {
  store.models = (await call("models.list")).models;
  store.device = await call("device.get");
  changed();
}

/** Change some settings and keep the others. */
export async function set(settings) {
  store.settings = (await call("settings.set", { settings })).settings;
  changed();
}

/** Programs that this device can run. */
export function usable() {
  return store.models.filter((model) => model.refusal === null);
}

/** The program of an id; undefined if it was deleted. */
export function modelOf(id) {
  return store.models.find((model) => model.id === id);
}

/** The program that answers: the chosen one, or else the middle of those that can write text. */
export function chosen() {
  const able = usable().filter((model) => model.tokenizer !== null);
  const own = able.filter((model) => model.recipe === "lowbit");
  return (
    able.find((model) => model.id === store.settings.model) ?? own[Math.floor(own.length / 2)] ?? able[0]
  );
}

/** What tells a program from the others of its model: "2 bits", "XNNPACK 4 bits"; its label where two are alike. */
export function nameOf(model) {
  const isLike = (other) =>
    other !== model && other.model === model.model && widthOf(other) === widthOf(model);
  return store.models.some(isLike) ? model.label : widthOf(model);
}

/** Whether a program's width is chosen while it runs. */
export function isElastic(model) {
  return Boolean(model?.widths.length);
}

/** "2", or "2–8" of an elastic program. */
export function bitsOf(model) {
  return isElastic(model) ? `${model.widths[0]}–${model.widths.at(-1)}` : bitsNumber(model.bits);
}

function widthOf(model) {
  if (isElastic(model)) return "elastic width";
  const width = bits(model.bits);
  if (model.recipe === "lowbit") return width;
  return `${model.recipe.startsWith("xnnpack") ? "XNNPACK" : model.recipe} ${width}`;
}
